#define _GNU_SOURCE
#include "pager_parts.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

struct part {
    const char *start;
    size_t length;
};

struct parts {
    volatile int *is_done;
    size_t count;
    struct part list[];
};

static int is_in_memory(char *start, size_t length) {
    unsigned char pages[256];
    size_t count = (length + page_size - 1) / page_size;
    if (count > sizeof pages || mincore(start, length, pages)) return 0;
    for (size_t i = 0; i < count; i++)
        if (!(pages[i] & 1)) return 0;
    return 1;
}

// Brings the files into the page cache and our page tables, well ahead of who copies: that never waits for
// the disk then. What is in memory is left to who copies, for there may be no processor to spare.
static void *read_ahead(void *argument) {
    struct parts *parts = argument;
    // Of this thread alone: who runs in the sandbox has the processors first.
    setpriority(PRIO_PROCESS, 0, 19);
    for (size_t i = 0; i < parts->count; i++)
        for (size_t done = 0; done < parts->list[i].length;) {
            size_t length = parts->list[i].length - done;
            if (length > 1 << 20) length = 1 << 20;
            char *start = (char *)parts->list[i].start + done;
            // What cannot be read is an error for who copies it.
            if (!is_in_memory(start, length)) madvise(start, length, 22);  // MADV_POPULATE_READ, Linux 5.14
            done += length;
        }
    *parts->is_done = 1;
    free(parts);
    return NULL;
}

void read_ahead_of(struct space *const *spaces, size_t space_count, volatile int *is_done) {
    size_t count = 0;
    for (size_t i = 0; i < space_count; i++) count += spaces[i]->count;
    struct parts *parts = malloc(sizeof *parts + count * sizeof *parts->list);
    *is_done = 1;
    if (!parts) return;
    parts->is_done = is_done;
    parts->count = 0;
    for (size_t i = 0; i < space_count; i++)
        for (size_t j = 0; j < spaces[i]->count; j++) {
            const struct extent *extent = &spaces[i]->list[j];
            size_t length = extent->end - extent->start;
            struct part *last = parts->count > 0 ? &parts->list[parts->count - 1] : NULL;
            if (last && last->start + last->length == extent->source)
                last->length += length;
            else
                parts->list[parts->count++] = (struct part){extent->source, length};
        }
    *is_done = 0;
    pthread_t thread;
    if (pthread_create(&thread, NULL, read_ahead, parts) == 0) return;
    free(parts);
    *is_done = 1;
}
