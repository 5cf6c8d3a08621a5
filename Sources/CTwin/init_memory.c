#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "look.h"
#include "sets.h"

// PID 1 is one for the life of its namespace: it cannot be ended and forked again, so its memory is made what
// it was. What it has not touched since it still shares with its copy, page by page, which the page tables
// show.

enum { PAGE = 4096, BATCH = 4096 };

// Documentation/admin-guide/mm/pagemap.rst.
static const uint64_t present = 1ull << 63, swapped = 1ull << 62, number = (1ull << 55) - 1;

static int open_pagemap(pid_t pid) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/pagemap", pid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static bool copy_page(struct task *init, const struct task *kept, unsigned long address) {
    static char page[PAGE];
    return memory_read(kept->pid, address, page, PAGE) && memory_write(init->pid, address, page, PAGE);
}

static bool forget(struct task *init, unsigned long start, unsigned long end) {
    if (start == end) return true;
    long result = task_call(init, SYS_madvise, start, end - start, MADV_DONTNEED, 0);
    return result == 0 || refuse("PID 1: madvise: %s", strerror((int)-result));
}

static bool turn_back(struct task *init, const struct task *kept, int now, int then, unsigned long start,
                      unsigned long end) {
    static uint64_t its[BATCH], copys[BATCH];
    unsigned long unwanted = start, wanted_end = start;  // pages that the copy has not
    for (unsigned long at = start; at < end;) {
        size_t count = (end - at) / PAGE < BATCH ? (end - at) / PAGE : BATCH, size = count * sizeof *its;
        off_t place = (off_t)(at / PAGE * sizeof *its);
        if (pread(now, its, size, place) != (ssize_t)size || pread(then, copys, size, place) != (ssize_t)size)
            return refuse("PID 1: its page tables cannot be read");
        for (size_t i = 0; i < count; i++, at += PAGE) {
            bool has = its[i] & (present | swapped), had = copys[i] & (present | swapped);
            if (had) {
                bool same = its[i] & copys[i] & present && (its[i] & number) &&
                    (its[i] & number) == (copys[i] & number);
                if (!same && !copy_page(init, kept, at)) return false;
            } else if (has) {
                if (wanted_end != at) {
                    if (!forget(init, unwanted, wanted_end)) return false;
                    unwanted = at;
                }
                wanted_end = at + PAGE;
            }
        }
    }
    return forget(init, unwanted, wanted_end);
}

/// The writable private ranges, one after the other; false at the end.
static bool next_range(const char **maps, unsigned long *start, unsigned long *end) {
    while (**maps) {
        char rights[5] = "";
        int fields = sscanf(*maps, "%lx-%lx %4s", start, end, rights);
        const char *line_end = strchr(*maps, '\n');
        *maps = line_end ? line_end + 1 : *maps + strlen(*maps);
        if (fields == 3 && rights[1] == 'w' && rights[3] == 'p') return true;
    }
    return false;
}

bool memory_of_init(struct task *init, const struct task *kept) {
    const char *text = proc_text(kept->pid, "maps", NULL);
    char *maps = text ? strdup(text) : NULL;
    int now = open_pagemap(init->pid), then = open_pagemap(kept->pid);
    bool good = maps && now >= 0 && then >= 0;
    if (!good) refuse("PID 1: its page tables cannot be read");
    const char *at = maps;
    for (unsigned long start, end; good && next_range(&at, &start, &end);)
        good = turn_back(init, kept, now, then, start, end);
    free(maps);
    if (now >= 0) close(now);
    if (then >= 0) close(then);
    return good;
}
