#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "look.h"
#include "task.h"

// A fork leaves out what madvise(2) was told to (MADV_DONTFORK), and empties other ranges (MADV_WIPEONFORK).
// The first shows in the size of the address space, the second in the pages that are there.

// <linux/fs.h> of Linux 6.7; older headers have none of it.
struct page_region {
    uint64_t start, end, categories;
};
struct scan {
    uint64_t size, flags, start, end, walk_end, regions, region_count, most_pages, inverted, all_of, any_of,
        returned;
};
static const unsigned long PAGEMAP_SCAN = _IOWR('f', 16, struct scan);
enum { IS_FILE = 1 << 2, IS_PRESENT = 1 << 3, IS_SWAPPED = 1 << 4 };
// Of the lower half of the address space (x86-64, without five levels).
static const uint64_t END = 0x7ffffffff000;

enum { REGIONS = 1024 };

/// The next ranges from `*at` on that hold memory of no file; how many, or -1.
static long next_regions(int pagemap, uint64_t *at, struct page_region *regions) {
    struct scan scan = {
        .size = sizeof scan,
        .start = *at,
        .end = END,
        .regions = (uint64_t)(uintptr_t)regions,
        .region_count = REGIONS,
        .inverted = IS_FILE,
        .all_of = IS_FILE,
        .any_of = IS_PRESENT | IS_SWAPPED,
    };
    long count = ioctl(pagemap, PAGEMAP_SCAN, &scan);
    *at = scan.walk_end;
    return count;
}

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
        long count = next_regions(one, &at, its);
        if (count < 0 && (errno == ENOTTY || errno == EINVAL)) return has_no_wiped_memory(pid);
        if (count < 0 || next_regions(other, &copys_at, copys) != count)
            return refuse("it has memory that a fork empties");
        for (long i = 0; i < count; i++)
            if (its[i].start != copys[i].start || its[i].end != copys[i].end)
                return refuse("it has memory that a fork empties");
        if (count < REGIONS) break;
    }
    return true;
}

static int open_pagemap(pid_t pid) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/pagemap", pid);
    return open(path, O_RDONLY | O_CLOEXEC);
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
