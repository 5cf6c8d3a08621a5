// What the files of the pager share.
#ifndef CLINUX_PAGER_PARTS_H
#define CLINUX_PAGER_PARTS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { page_size = 4096 };

// Pages that are missing, and what they are to hold: our mapping of a file. Empty ones stay in their place.
struct extent {
    uint64_t start, end;
    const char *source;
};

// One address space. A page that is missing and in no extent is zero.
struct space {
    int userfault;
    struct extent *list;
    size_t count, room;
    // Bytes in all extents.
    uint64_t left;
    // Where the filling from behind goes on.
    uint64_t cursor;
    // Where the last window ended that was filled for a fault, and how large it was.
    uint64_t window_end, window;
};

// The first extent that ends behind `address`.
size_t space_find(const struct space *space, uint64_t address);
// What was there is gone, or has come. Returns 0, or -1 without memory.
int space_cut(struct space *space, uint64_t start, uint64_t end);
// mremap(2) moved it.
int space_move(struct space *space, uint64_t from, uint64_t to, uint64_t length);
// A copy of what is missing, as fork(2) makes it; NULL without memory.
struct space *space_copy(const struct space *space, int userfault);
void space_free(struct space *space);

enum outcome {
    filled,
    // The map changes: events come first.
    changing,
    // Nothing is mapped there, or it is in the middle of a move.
    absent,
    // The process is gone.
    gone,
    // No memory, or not within the limits of the control group.
    no_memory,
    // Any other error, in errno.
    broken,
};

// Fills pages of the extent at `index`, from `start` to `end`, both inside of it.
enum outcome space_fill(struct space *space, size_t index, uint64_t start, uint64_t end);
// Fills the page of an address at which a thread waits, with some of those behind it.
enum outcome space_serve(struct space *space, uint64_t address);
// Fills at most `step` bytes of what nobody asked for yet.
enum outcome space_fill_behind(struct space *space, uint64_t step, int must_be_cached);

// Brings the files into the page cache and our page tables, in a thread of its own; `is_done` then.
void read_ahead_of(struct space *const *spaces, size_t space_count, volatile int *is_done);

// A plan is words of 64 bits: the magic number, how many processes, files and extents there are, and the
// pace; for each process how many of the extents are its own; the extents, each its first address, its pages,
// its file and the place in that in bytes; and then the paths of the files, each with a zero behind it.
struct plan {
    const uint64_t *words;
    size_t length;
};

// Takes one in; returns 0 or -1.
int plan_map(int file, struct plan *plan);
// Opens the files and makes a space of each process, its userfaultfd not known yet; 0, or -1 and what it
// failed at.
int plan_spaces(const struct plan *plan, struct space **spaces, const char **failed);

enum { most_waiting = 4096 };

struct waiting {
    struct space *space;
    uint64_t address;
};

struct pager {
    int directory, file, sandbox, keeper;
    char name[256];
    // What the keeper has to know is in memory that both have.
    volatile int *told;
    struct space **spaces;
    size_t count;
    uint64_t total, told_left;
    struct waiting waiting[most_waiting];
    size_t waiting_count;
    volatile int is_cached;
    // Bytes a second that may come from behind; 0 knows no bound.
    volatile uint64_t pace;
    // When somebody last waited for a page.
    uint64_t asked;
};
extern struct pager pager;

// Writes down why the sandbox cannot go on, ends it, and ends.
void pager_fail(const char *what, int code);
// All is there, or the sandbox is gone: closes all, and ends.
void pager_finish(void);
// Starts the process that ends the sandbox where this one ends too early.
void pager_start_keeper(void);

int pager_answer(int socket, const char *text);
// Answers with an error, for errno; 1.
int pager_refuse(int socket, const char *what, const char *which);

#endif
