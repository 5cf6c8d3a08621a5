#define _GNU_SOURCE
#include "pager_parts.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    least_window = 64 << 10,
    largest_window = 1 << 20,
    largest_step = 512 << 10,
};

size_t space_find(const struct space *space, uint64_t address) {
    size_t low = 0, high = space->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (space->list[middle].end > address)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static int insert(struct space *space, size_t index, const struct extent *pieces, size_t count) {
    if (space->count + count > space->room) {
        size_t room = (space->count + count) * 2;
        struct extent *list = realloc(space->list, room * sizeof *list);
        if (!list) return -1;
        space->list = list;
        space->room = room;
    }
    memmove(space->list + index + count, space->list + index, (space->count - index) * sizeof *space->list);
    memcpy(space->list + index, pieces, count * sizeof *pieces);
    space->count += count;
    for (size_t i = 0; i < count; i++) space->left += pieces[i].end - pieces[i].start;
    return 0;
}

int space_cut(struct space *space, uint64_t start, uint64_t end) {
    for (size_t i = space_find(space, start); i < space->count && space->list[i].start < end; i++) {
        struct extent *extent = &space->list[i];
        uint64_t from = start > extent->start ? start : extent->start;
        uint64_t to = end < extent->end ? end : extent->end;
        if (from > extent->start && to < extent->end) {
            struct extent rest = {to, extent->end, extent->source + (to - extent->start)};
            space->left -= extent->end - from;
            extent->end = from;
            return insert(space, i + 1, &rest, 1);
        }
        space->left -= to - from;
        if (from > extent->start) {
            extent->end = from;
        } else {
            extent->source += to - extent->start;
            extent->start = to;
        }
    }
    return 0;
}

// Takes empty extents out that end behind `from` and not behind `to`.
static void drop_empty(struct space *space, uint64_t from, uint64_t to) {
    size_t first = space_find(space, from), last = first;
    while (last < space->count && space->list[last].start == space->list[last].end &&
           space->list[last].end <= to)
        last++;
    memmove(space->list + first, space->list + last, (space->count - last) * sizeof *space->list);
    space->count -= last - first;
}

int space_move(struct space *space, uint64_t from, uint64_t to, uint64_t length) {
    size_t first = space_find(space, from), last = first;
    while (last < space->count && space->list[last].start < from + length) last++;
    size_t count = last - first;
    struct extent *pieces = malloc((count + 1) * sizeof *pieces);
    if (!pieces) return -1;
    for (size_t i = 0; i < count; i++) {
        struct extent piece = space->list[first + i];
        if (piece.start < from) {
            piece.source += from - piece.start;
            piece.start = from;
        }
        if (piece.end > from + length) piece.end = from + length;
        piece.start = piece.start - from + to;
        piece.end = piece.end - from + to;
        pieces[i] = piece;
    }
    int failed = space_cut(space, from, from + length) || space_cut(space, to, to + length);
    if (!failed) {
        drop_empty(space, to, to + length);
        failed = insert(space, space_find(space, to), pieces, count);
    }
    free(pieces);
    return failed ? -1 : 0;
}

struct space *space_copy(const struct space *space, int userfault) {
    struct space *copy = malloc(sizeof *copy);
    if (!copy) return NULL;
    *copy = *space;
    copy->userfault = userfault;
    copy->room = space->count + 1;
    copy->list = malloc(copy->room * sizeof *copy->list);
    if (!copy->list) {
        free(copy);
        return NULL;
    }
    memcpy(copy->list, space->list, space->count * sizeof *copy->list);
    return copy;
}

void space_free(struct space *space) {
    close(space->userfault);
    free(space->list);
    free(space);
}

static void wake(const struct space *space, uint64_t start, uint64_t length) {
    struct uffdio_range range = {start, length};
    ioctl(space->userfault, UFFDIO_WAKE, &range);
}

static enum outcome outcome_of(int code) {
    switch (code) {
    case EAGAIN: return changing;
    case ENOENT: return absent;
    case ESRCH: return gone;
    case ENOMEM: return no_memory;
    default: return broken;
    }
}

enum outcome space_fill(struct space *space, size_t index, uint64_t start, uint64_t end) {
    const struct extent extent = space->list[index];
    uint64_t piece = end - start;
    while (start < end) {
        uint64_t length = piece < end - start ? piece : end - start;
        struct uffdio_copy copy = {.dst = start,
                                   .src = (uint64_t)(uintptr_t)(extent.source + (start - extent.start)),
                                   .len = length};
        int code = ioctl(space->userfault, UFFDIO_COPY, &copy) ? errno : 0;
        uint64_t done = code == 0 ? length : copy.copy > 0 ? (uint64_t)copy.copy : 0;
        if (done == 0 && code == EEXIST) {
            // Nobody else fills it: a thread that has not been woken yet waits for a page that is there.
            wake(space, start, page_size);
            done = page_size;
        }
        if (done > 0) {
            if (space_cut(space, start, start + done)) return no_memory;
            start += done;
            continue;
        }
        // More than one mapping is more than the kernel fills at once.
        if (code == ENOENT && length > page_size) {
            piece = length / 2 / page_size * page_size;
            continue;
        }
        errno = code;
        return outcome_of(code);
    }
    return filled;
}

static enum outcome serve_zero(struct space *space, uint64_t page) {
    struct uffdio_zeropage zero = {.range = {page, page_size}};
    if (ioctl(space->userfault, UFFDIO_ZEROPAGE, &zero) == 0) return filled;
    int code = errno;
    if (code == EEXIST || code == ENOENT) {
        wake(space, page, page_size);
        return filled;
    }
    errno = code;
    return outcome_of(code);
}

enum outcome space_serve(struct space *space, uint64_t address) {
    uint64_t page = address & -(uint64_t)page_size;
    size_t index = space_find(space, page);
    if (index == space->count || space->list[index].start > page) return serve_zero(space, page);
    const struct extent extent = space->list[index];
    // Whoever goes on where the last window ended gets twice as much.
    int goes_on = page == space->window_end && space->window > 0;
    uint64_t window = goes_on ? space->window * 2 : least_window;
    if (window > largest_window) window = largest_window;
    uint64_t start = goes_on ? page : page & -window;
    uint64_t end = start + window;
    if (start < extent.start) start = extent.start;
    if (end > extent.end) end = extent.end;
    space->window = window;
    space->window_end = end;
    // First the page itself, for what lies around it may be another mapping by now.
    enum outcome outcome = space_fill(space, index, page, page + page_size);
    if (outcome == absent) {
        wake(space, page, page_size);
        return filled;
    }
    if (outcome != filled) return outcome;
    const uint64_t pieces[2][2] = {{page + page_size, end}, {start, page}};
    for (int i = 0; i < 2; i++) {
        if (pieces[i][0] >= pieces[i][1]) continue;
        index = space_find(space, pieces[i][0]);
        if (index == space->count || space->list[index].start > pieces[i][0]) continue;
        // What is not filled now is filled from behind.
        outcome = space_fill(space, index, pieces[i][0], pieces[i][1]);
        if (outcome == broken || outcome == gone) return outcome;
    }
    return filled;
}

enum outcome space_fill_behind(struct space *space, uint64_t step, int must_be_cached) {
    if (step > largest_step) step = largest_step;
    size_t index = space_find(space, space->cursor);
    while (index < space->count && space->list[index].start == space->list[index].end) index++;
    if (index == space->count) {
        space->cursor = 0;
        return changing;
    }
    const struct extent extent = space->list[index];
    uint64_t start = extent.start > space->cursor ? extent.start : space->cursor;
    uint64_t end = extent.end - start > step ? start + step : extent.end;
    if (must_be_cached) {
        unsigned char there[largest_step / page_size];
        if (mincore((void *)(extent.source + (start - extent.start)), end - start, there) == 0)
            for (uint64_t i = 0; i < (end - start) / page_size; i++)
                if (!(there[i] & 1)) return changing;
    }
    enum outcome outcome = space_fill(space, index, start, end);
    // What is in the middle of a move comes again when the cursor does.
    if (outcome == absent) space->cursor = start + page_size;
    if (outcome == filled) space->cursor = end;
    return outcome;
}
