// Sets of twins: all processes of a sandbox at one instant.
#ifndef CTWIN_SETS_H
#define CTWIN_SETS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/time.h>
#include <sys/types.h>

#include "files.h"
#include "pages.h"
#include "task.h"

/// A process as it was, and the copy of it that is kept.
struct twin {
    struct task kept;  // the copy; its registers and mask are those of the original
    pid_t kept_inner;
    pid_t inner;  // the original's
    struct files files;
    struct itimerval timers[3];
    unsigned long robust_list, robust_size, clear_at;
    int death_signal;
};

struct set {
    uint64_t number;
    struct twin init;  // PID 1's memory and descriptors
    struct pages withheld;  // what PID 1's copy did not inherit, until it has that too
    struct twin *list;
    size_t count;
    struct set *next;
};
extern struct set *sets;

enum { MOST = 64 };  // processes besides PID 1

/// PID 1 and the others, while they stand still.
extern struct task init_task, live[MOST];
extern size_t live_count;
/// Whether the sandbox's processes were ended and are not back.
extern bool is_cleared;

/// Stops all processes; false with `why` set where one runs on or was starting.
bool live_hold(pid_t init);
/// Copies those that were stopped; lets them go where that fails.
bool set_copy(uint64_t number);
/// Does what is left to do for copies when the originals may have gone on.
void set_settle(struct set *set);
void live_release(void);
struct set *set_find(uint64_t number);
void set_drop(struct set *set);
bool is_twin(pid_t pid);
/// The children of PID 1 that are no twins; more than `limit` where there are too many.
size_t live_children(pid_t init, pid_t *children, size_t limit);

/// Stops PID 1 and ends all else but twins; `is_touched` tells whether something was ended when it fails.
bool live_clear(pid_t init, bool *is_touched);
/// Brings the processes back; the sandbox's files may be put back meanwhile.
bool set_revive(struct set *set);
/// The rest of it, when they are.
bool set_go_back_to_files(struct set *set);

/// Whether there are no System V objects, or none any more; false with `why` set.
bool ipc_look(pid_t init, bool removes);
/// Gives PID 1's memory the contents that its copy has.
bool memory_of_init(struct task *init, const struct task *kept);

#endif
