#include "pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "task.h"

enum { PAGE = 4096, REGIONS = 64 };

// <linux/fs.h> of Linux 6.7; older headers have none of it.
struct scan {
    uint64_t size, flags, start, end, walk_end, regions, region_count, most_pages, inverted, all_of, any_of,
        returned;
};
static const unsigned long PAGEMAP_SCAN = _IOWR('f', 16, struct scan);
enum { IS_FILE = 1 << 2, IS_PRESENT = 1 << 3, IS_SWAPPED = 1 << 4 };

long page_regions(int pagemap, uint64_t *at, uint64_t end, struct page_region *regions, size_t limit) {
    struct scan scan = {
        .size = sizeof scan,
        .start = *at,
        .end = end,
        .regions = (uint64_t)(uintptr_t)regions,
        .region_count = limit,
        .inverted = IS_FILE,
        .all_of = IS_FILE,
        .any_of = IS_PRESENT | IS_SWAPPED,
    };
    long count = ioctl(pagemap, PAGEMAP_SCAN, &scan);
    *at = scan.walk_end;
    return count;
}

int open_pagemap(pid_t pid) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/pagemap", pid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static bool keep(struct pages *pages, pid_t pid, const struct page_region *region) {
    const size_t size = region->end - region->start;
    if (pages->count == pages->room) {
        size_t room = pages->room ? 2 * pages->room : 16;
        struct page_region *list = realloc(pages->list, room * sizeof *list);
        if (!list) return refuse("out of memory");
        pages->list = list;
        pages->room = room;
    }
    if (pages->size + size > pages->bytes_room) {
        size_t room = 2 * (pages->size + size);
        char *bytes = realloc(pages->bytes, room);
        if (!bytes) return refuse("out of memory");
        pages->bytes = bytes;
        pages->bytes_room = room;
    }
    if (!memory_read(pid, region->start, pages->bytes + pages->size, size)) return false;
    pages->list[pages->count++] = *region;
    pages->size += size;
    return true;
}

/// The same on an older kernel, page by page (Documentation/admin-guide/mm/pagemap.rst).
static bool keep_each(struct pages *pages, pid_t pid, int pagemap, unsigned long start, unsigned long end) {
    static const uint64_t present = 1ull << 63, swapped = 1ull << 62;
    for (unsigned long at = start; at < end; at += PAGE) {
        uint64_t entry = 0;
        if (pread(pagemap, &entry, sizeof entry, (off_t)(at / PAGE * sizeof entry)) != sizeof entry)
            return refuse("its page tables cannot be read");
        const struct page_region region = {at, at + PAGE, 0};
        if (entry & (present | swapped) && !keep(pages, pid, &region)) return false;
    }
    return true;
}

bool pages_keep(struct pages *pages, pid_t pid, unsigned long start, unsigned long end) {
    static struct page_region regions[REGIONS];
    int pagemap = open_pagemap(pid);
    bool good = pagemap >= 0 || refuse("its page tables cannot be read");
    for (uint64_t at = start; good && at < end;) {
        long count = page_regions(pagemap, &at, end, regions, REGIONS);
        if (count < 0) {
            good = errno == ENOTTY ? keep_each(pages, pid, pagemap, start, end)
                                   : refuse("its page tables cannot be read");
            break;
        }
        for (long i = 0; good && i < count; i++) good = keep(pages, pid, &regions[i]);
        if (count < REGIONS) break;
    }
    if (pagemap >= 0) close(pagemap);
    return good;
}

bool pages_give(const struct pages *pages, pid_t pid) {
    const char *bytes = pages->bytes;
    for (size_t i = 0; i < pages->count; i++) {
        const size_t size = pages->list[i].end - pages->list[i].start;
        if (!memory_write(pid, pages->list[i].start, bytes, size)) return false;
        bytes += size;
    }
    return true;
}

void pages_free(struct pages *pages) {
    free(pages->list);
    free(pages->bytes);
    *pages = (struct pages){0};
}
