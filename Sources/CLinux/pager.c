#define _GNU_SOURCE
#include "pager.h"

#include "pager_parts.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    // Milliseconds without any progress before it is given up.
    patience = 30000,
    // Milliseconds in which nothing comes from behind: who was just woken needs the processors for its first
    // steps.
    head_start = 10,
};

struct pager pager = {.directory = -1, .file = -1, .sandbox = -1, .keeper = -1};

static uint64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void add_space(struct space *space) {
    struct space **spaces = space ? realloc(pager.spaces, (pager.count + 1) * sizeof *spaces) : NULL;
    if (!spaces) pager_fail("no memory to fill memory", ENOMEM);
    pager.spaces = spaces;
    spaces[pager.count++] = space;
}

static void remove_space(struct space *space) {
    size_t kept = 0;
    for (size_t i = 0; i < pager.waiting_count; i++)
        if (pager.waiting[i].space != space) pager.waiting[kept++] = pager.waiting[i];
    pager.waiting_count = kept;
    for (size_t i = 0; i < pager.count; i++)
        if (pager.spaces[i] == space) {
            pager.spaces[i] = pager.spaces[--pager.count];
            break;
        }
    space_free(space);
}

// What came of a try; whether the space is still there.
static int settle(struct space *space, enum outcome outcome) {
    if (outcome == gone) {
        remove_space(space);
        return 0;
    }
    if (outcome == broken)
        pager_fail(errno == EFAULT ? "a part of its memory cannot be read from the store"
                             : "a part of its memory cannot be brought back",
             errno == EFAULT ? EIO : errno);
    return 1;
}

static void wait_for(struct space *space, uint64_t address) {
    // More threads than this wait in the kernel until there is room here again.
    if (pager.waiting_count == most_waiting) pager_fail("too many threads wait for their memory", EAGAIN);
    pager.waiting[pager.waiting_count++] = (struct waiting){space, address};
}

static void heed(struct space *space, const struct uffd_msg *message) {
    int failed = 0;
    switch (message->event) {
    case UFFD_EVENT_PAGEFAULT: wait_for(space, message->arg.pagefault.address); break;
    case UFFD_EVENT_FORK: add_space(space_copy(space, (int)message->arg.fork.ufd)); break;
    case UFFD_EVENT_REMAP:
        failed = space_move(space, message->arg.remap.from, message->arg.remap.to, message->arg.remap.len);
        break;
    case UFFD_EVENT_REMOVE:
    case UFFD_EVENT_UNMAP:
        failed = space_cut(space, message->arg.remove.start, message->arg.remove.end);
        break;
    default: break;
    }
    if (failed) pager_fail("no memory to fill memory", ENOMEM);
}

// Reads all that the kernel has to tell of one space, one by one: what a fork copies is what is missing then.
static void listen_to(struct space *space) {
    while (pager.waiting_count < most_waiting) {
        struct uffd_msg message;
        ssize_t got = read(space->userfault, &message, sizeof message);
        if (got == sizeof message) {
            heed(space, &message);
        } else if (got < 0 && errno == EINTR) {
            continue;
        } else if (got < 0 && errno != EAGAIN && errno != ESRCH) {
            pager_fail("userfaultfd", errno);
        } else {
            return;
        }
    }
}

static void serve_waiting(void) {
    size_t count = pager.waiting_count;
    if (count == 0) return;
    pager.asked = milliseconds();
    struct waiting waiting[most_waiting];
    memcpy(waiting, pager.waiting, count * sizeof *waiting);
    pager.waiting_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct space *space = waiting[i].space;
        if (!space) continue;
        enum outcome outcome = space_serve(space, waiting[i].address);
        if (outcome == changing || outcome == no_memory) wait_for(space, waiting[i].address);
        if (settle(space, outcome)) continue;
        for (size_t j = i; j < count; j++)
            if (waiting[j].space == space) waiting[j].space = NULL;
    }
}

static void look_around(int timeout) {
    size_t count = pager.count;
    struct pollfd *entries = calloc(count + 2, sizeof *entries);
    struct space **spaces = calloc(count + 1, sizeof *spaces);
    if (!entries || !spaces) pager_fail("no memory to fill memory", ENOMEM);
    entries[0] = (struct pollfd){pager.sandbox, POLLIN, 0};
    entries[1] = (struct pollfd){pager.keeper, POLLIN, 0};
    for (size_t i = 0; i < count; i++) {
        spaces[i] = pager.spaces[i];
        entries[i + 2] = (struct pollfd){spaces[i]->userfault, POLLIN, 0};
    }
    if (poll(entries, count + 2, timeout) > 0) {
        if (entries[0].revents) pager_finish();
        if (entries[1].revents) {
            while (waitpid(-1, NULL, WNOHANG) > 0) {
            }
            pager_start_keeper();
        }
        for (size_t i = 0; i < count; i++)
            if (entries[i + 2].revents & POLLIN) listen_to(spaces[i]);
    }
    free(entries);
    free(spaces);
}

static uint64_t all_left(void) {
    uint64_t left = 0;
    for (size_t i = 0; i < pager.count; i++) left += pager.spaces[i]->left;
    return left;
}

static void tell(uint64_t left) {
    if (left > pager.total) pager.total = left;
    char text[64];
    int length = snprintf(text, sizeof text, "%020llu %020llu\n", (unsigned long long)left,
                          (unsigned long long)pager.total);
    ssize_t written = pwrite(pager.file, text, (size_t)length, clinux_pager_progress_offset);
    (void)written;
    pager.told_left = left;
}

static void serve(void) {
    uint64_t left = all_left(), since = milliseconds();
    const uint64_t all = left, began = since;
    size_t next = 0;
    int timeout = 0, has_read_ahead = 0;
    tell(left);
    while (pager.count > 0) {
        look_around(timeout);
        timeout = 0;
        serve_waiting();
        for (size_t i = pager.count; i-- > 0;)
            if (pager.spaces[i]->left == 0) remove_space(pager.spaces[i]);
        if (pager.count == 0) break;
        if (pager.waiting_count > 0) timeout = 1;
        uint64_t now = milliseconds(), pace = pager.pace;
        enum outcome outcome = changing;
        if (now - began < head_start && pace == 0) {
            timeout = 1;
            since = now;
        } else if (!has_read_ahead) {
            has_read_ahead = 1;
            read_ahead_of(pager.spaces, pager.count, &pager.is_cached);
        } else if (pace == 0 || (now - began) * pace / 1000 > all - (left < all ? left : all)) {
            struct space *space = pager.spaces[next++ % pager.count];
            // Whoever faults meanwhile waits for so much.
            uint64_t step = now - pager.asked < 5 ? 64 << 10 : 512 << 10;
            outcome = space_fill_behind(space, step, !pager.is_cached);
            if (settle(space, outcome) && outcome != filled) timeout = 1;
        } else {
            since = now;
            timeout = 2;
        }
        uint64_t still = all_left();
        if (still != left || !pager.is_cached) since = now;
        left = still;
        if (pager.told_left > left + (16 << 20)) tell(left);
        if (now - since > patience)
            pager_fail("the rest of its memory cannot be brought back",
                       outcome == no_memory ? ENOMEM : ETIMEDOUT);
    }
    pager_finish();
}

static void hurry(int signal) {
    (void)signal;
    pager.pace = 0;
}

int clinux_pager_run(int socket) {
    prctl(PR_SET_NAME, "ckpt-pager");
    signal(SIGPIPE, SIG_IGN);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    pager.told = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (pager.told == MAP_FAILED) return pager_refuse(socket, "mmap", "");
    int descriptors[clinux_most_descriptors], count;
    ssize_t got = clinux_receive_descriptors(socket, pager.name, sizeof pager.name - 1, descriptors, &count);
    if (got <= 0 || count != 2) return 1;
    pager.directory = descriptors[1];
    struct plan plan;
    if (plan_map(descriptors[0], &plan)) return pager_refuse(socket, "the plan of", "memory");
    const char *failed = "memory";
    pager.spaces = calloc(plan.words[1], sizeof *pager.spaces);
    if (!pager.spaces || plan_spaces(&plan, pager.spaces, &failed))
        return pager_refuse(socket, "cannot use", failed);
    pager.count = plan.words[1];
    pager.pace = plan.words[4];
    signal(SIGUSR1, hurry);
    if (pager_answer(socket, "ok")) return 1;
    // The sandbox's PID 1 and the open file, and then a userfaultfd for each process.
    for (size_t have = 0; have < pager.count;) {
        char byte;
        if (clinux_receive_descriptors(socket, &byte, 1, descriptors, &count) <= 0) return 1;
        int used = 0;
        if (pager.sandbox < 0) {
            if (count < 2) return 1;
            pager.sandbox = descriptors[used++];
            pager.file = descriptors[used++];
        }
        while (used < count && have < pager.count) pager.spaces[have++]->userfault = descriptors[used++];
    }
    pager_start_keeper();
    if (pager_answer(socket, "ok")) return 1;
    close(socket);
    serve();
    return 0;
}
