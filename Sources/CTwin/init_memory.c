#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "look.h"
#include "pages.h"
#include "sets.h"

// PID 1 is one for the life of its namespace: it cannot be ended and forked again, so its memory is made what
// it was. What it has not touched since it still shares with its copy, page by page, which the page tables
// show.

enum { PAGE = 4096, BATCH = 4096 };

// Documentation/admin-guide/mm/pagemap.rst.
static const uint64_t present = 1ull << 63, swapped = 1ull << 62, number = (1ull << 55) - 1;

static bool copy_pages(struct task *init, const struct task *kept, unsigned long start, unsigned long end) {
    enum { AT_ONCE = 64 * PAGE };
    static char pages[AT_ONCE];
    for (; start < end; start += AT_ONCE) {
        const size_t size = end - start < AT_ONCE ? end - start : AT_ONCE;
        if (!memory_read(kept->pid, start, pages, size) || !memory_write(init->pid, start, pages, size)) return false;
    }
    return true;
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
    unsigned long other = start, other_end = start;      // and those that are others than the copy's
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
                if (same) continue;
                if (other_end != at) {
                    if (!copy_pages(init, kept, other, other_end)) return false;
                    other = at;
                }
                other_end = at + PAGE;
            } else if (has) {
                if (wanted_end != at) {
                    if (!forget(init, unwanted, wanted_end)) return false;
                    unwanted = at;
                }
                wanted_end = at + PAGE;
            }
        }
    }
    return copy_pages(init, kept, other, other_end) && forget(init, unwanted, wanted_end);
}

/// The same of a range in which there may be little: what neither of them has is passed over.
static bool turn_back_sparse(struct task *init, const struct task *kept, int now, int then, unsigned long start,
                             unsigned long end) {
    enum { FEW = 64 };
    static struct page_region its[FEW], copys[FEW];
    uint64_t at = start, copys_at = start;
    long count = page_regions(now, &at, end, its, FEW), copys_count = page_regions(then, &copys_at, end, copys, FEW);
    if (count < 0 || copys_count < 0 || count == FEW || copys_count == FEW)
        return turn_back(init, kept, now, then, start, end);
    // Both are in order; what one passes over is not looked at again in the other.
    unsigned long done = start;
    for (long i = 0, j = 0; i < count || j < copys_count;) {
        const bool is_its = j == copys_count || (i < count && its[i].start < copys[j].start);
        const struct page_region *next = is_its ? &its[i++] : &copys[j++];
        const unsigned long from = next->start > done ? next->start : done;
        if (from >= next->end) continue;
        if (!turn_back(init, kept, now, then, from, next->end)) return false;
        done = next->end;
    }
    return true;
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
        good = turn_back_sparse(init, kept, now, then, start, end);
    free(maps);
    if (now >= 0) close(now);
    if (then >= 0) close(then);
    return good;
}
