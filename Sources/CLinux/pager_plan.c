#define _GNU_SOURCE
#include "pager.h"
#include "pager_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int pager_answer(int socket, const char *text) {
    return send(socket, text, strlen(text), MSG_NOSIGNAL) < 0 ? -1 : 0;
}

int pager_refuse(int socket, const char *what, const char *which) {
    char text[512];
    snprintf(text, sizeof text, "%s %s: %s", what, which, strerror(errno));
    pager_answer(socket, text);
    return 1;
}

int plan_map(int file, struct plan *plan) {
    struct stat status;
    if (fstat(file, &status)) return -1;
    void *start = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (start == MAP_FAILED) return -1;
    *plan = (struct plan){start, (size_t)status.st_size};
    errno = EINVAL;
    if (plan->length < 40 || plan->words[0] != clinux_pager_magic) return -1;
    const uint64_t least = 40 + plan->words[1] * 8 + plan->words[3] * 32;
    return plan->words[1] > 0 && plan->words[1] < 1 << 20 && plan->words[3] < 1 << 28 && least <= plan->length
               ? 0
               : -1;
}

static const char **map_files(const struct plan *plan, uint64_t *lengths, const char **failed) {
    const char *path = (const char *)(plan->words + 5 + plan->words[1] + plan->words[3] * 4);
    const char *end = (const char *)plan->words + plan->length;
    const char **starts = calloc(plan->words[2] + 1, sizeof *starts);
    if (!starts) return NULL;
    for (uint64_t i = 0; i < plan->words[2]; i++) {
        *failed = path;
        size_t length = strnlen(path, (size_t)(end - path));
        errno = EINVAL;
        if (path + length >= end) return NULL;
        int file = open(path, O_RDONLY | O_CLOEXEC);
        struct stat status;
        if (file < 0 || fstat(file, &status)) return NULL;
        lengths[i] = (uint64_t)status.st_size;
        starts[i] = mmap(NULL, lengths[i] + 1, PROT_READ, MAP_SHARED, file, 0);
        if (starts[i] == MAP_FAILED) return NULL;
        close(file);
        path += length + 1;
    }
    return starts;
}

static struct space *space_of(const uint64_t *extents, uint64_t count, const char **starts,
                              const uint64_t *lengths, uint64_t files) {
    struct space *space = calloc(1, sizeof *space);
    if (!space) return NULL;
    space->userfault = -1;
    space->count = count;
    space->room = count + 1;
    space->list = malloc(space->room * sizeof *space->list);
    if (!space->list) return NULL;
    errno = EINVAL;
    for (uint64_t i = 0; i < count; i++, extents += 4) {
        const uint64_t bytes = extents[1] * page_size;
        if (extents[2] >= files || extents[3] > lengths[extents[2]] ||
            bytes > lengths[extents[2]] - extents[3] || (i > 0 && extents[0] < space->list[i - 1].end))
            return NULL;
        space->list[i] = (struct extent){extents[0], extents[0] + bytes, starts[extents[2]] + extents[3]};
        space->left += bytes;
    }
    return space;
}

int plan_spaces(const struct plan *plan, struct space **spaces, const char **failed) {
    uint64_t *lengths = calloc(plan->words[2] + 1, sizeof *lengths);
    const char **starts = lengths ? map_files(plan, lengths, failed) : NULL;
    if (!starts) return -1;
    *failed = "the plan";
    const uint64_t *extents = plan->words + 5 + plan->words[1];
    uint64_t rest = plan->words[3];
    for (uint64_t i = 0; i < plan->words[1]; i++) {
        const uint64_t count = plan->words[5 + i];
        errno = EINVAL;
        if (count > rest) return -1;
        spaces[i] = space_of(extents, count, starts, lengths, plan->words[2]);
        if (!spaces[i]) return -1;
        extents += count * 4;
        rest -= count;
    }
    free(lengths);
    free(starts);
    return 0;
}
