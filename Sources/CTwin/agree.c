#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "look.h"
#include "pages.h"
#include "task.h"

// A fork leaves out what madvise(2) was told to (MADV_DONTFORK), and empties other ranges (MADV_WIPEONFORK).
// The first shows in the size of the address space, the second in the pages that are there.

// Of the lower half of the address space (x86-64, without five levels).
static const uint64_t END = 0x7ffffffff000;

enum { REGIONS = 1024 };

static bool has_flag(const char *flags, const char *end, const char *flag) {
    for (const char *at = flags; at + 2 <= end; at += 3)
        if (!strncmp(at, flag, 2)) return true;
    return false;
}

/// The same on an older kernel (proc_pid_smaps(5), VmFlags).
static bool has_no_wiped_memory(pid_t pid) {
    const char *text = proc_text(pid, "smaps", NULL);
    if (!text) return refuse("process %d ended meanwhile", pid);
    while ((text = strstr(text, "\nVmFlags: "))) {
        text += 10;
        const char *end = strchr(text, '\n');
        if (!end) break;
        if (has_flag(text, end, "wf") || has_flag(text, end, "dp"))
            return refuse("it has memory that a fork empties");
    }
    return true;
}

static bool have_same_pages(int one, int other, pid_t pid) {
    static struct page_region its[REGIONS], copys[REGIONS];
    for (uint64_t at = 0, copys_at = 0; at < END;) {
        long count = page_regions(one, &at, END, its, REGIONS);
        if (count < 0 && (errno == ENOTTY || errno == EINVAL)) return has_no_wiped_memory(pid);
        if (count < 0 || page_regions(other, &copys_at, END, copys, REGIONS) != count)
            return refuse("it has memory that a fork empties");
        for (long i = 0; i < count; i++)
            if (its[i].start != copys[i].start || its[i].end != copys[i].end)
                return refuse("it has memory that a fork empties");
        if (count < REGIONS) break;
    }
    return true;
}

static long pages_of(pid_t pid) {
    const char *text = proc_text(pid, "statm", NULL);
    return text ? strtol(text, NULL, 10) : -1;
}

bool copy_has_all(pid_t pid, pid_t copy) {
    long size = pages_of(pid);
    if (size < 0 || pages_of(copy) != size) return refuse("it has memory that a fork leaves out");
    int one = open_pagemap(pid), other = open_pagemap(copy);
    bool good = one >= 0 && other >= 0 ? have_same_pages(one, other, pid)
                                       : refuse("its page tables cannot be read");
    if (one >= 0) close(one);
    if (other >= 0) close(other);
    return good;
}
