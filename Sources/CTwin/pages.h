// Which pages of a process there are, and their contents.
#ifndef CTWIN_PAGES_H
#define CTWIN_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// Pages that follow one another (<linux/fs.h>, struct page_region).
struct page_region {
    uint64_t start, end, categories;
};

/// The ranges from `*at` up to `end` that hold memory of no file, at most `limit`, and where to go on in `*at`; how many,
/// or -1 with errno set: ENOTTY on a kernel older than Linux 6.7. `pagemap` is a process's /proc/PID/pagemap.
long page_regions(int pagemap, uint64_t *at, uint64_t end, struct page_region *regions, size_t limit);
/// Opens that file.
int open_pagemap(pid_t pid);

/// Copies of pages.
struct pages {
    struct page_region *list;
    size_t count, room;
    char *bytes;  // of all of them, one after the other
    size_t size, bytes_room;
};
/// Adds what a process has of no file in a range; false with `why` set.
bool pages_keep(struct pages *pages, pid_t pid, unsigned long start, unsigned long end);
/// Writes them to a process, at the same addresses; false with `why` set.
bool pages_give(const struct pages *pages, pid_t pid);
void pages_free(struct pages *pages);

#endif
