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

// A process that lives on with missing pages whose userfaultfd nobody has any more would be given zeros by the kernel. So
// there are always two of us that hold all descriptors in one table (CLONE_FILES): the one that fills, and a keeper that
// does nothing but wait for the end of the other. Where that ends too early the keeper ends the sandbox.

enum { most_waiting = 4096, patience = 30000 };

struct waiting {
    struct space *space;
    uint64_t address;
};

static struct {
    int directory, file, sandbox, keeper;
    char name[256];
    // What the keeper has to know is in memory that both have.
    volatile int *told;
    struct space **spaces;
    size_t count;
    uint64_t total, told_left;
    struct waiting waiting[most_waiting];
    size_t waiting_count;
    volatile int is_cached;
    // Bytes a second that may come from behind; 0 knows no bound.
    volatile uint64_t pace;
} pager = {.directory = -1, .file = -1, .sandbox = -1, .keeper = -1};

static uint64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void end_sandbox(const char *reason) {
    // Before anybody can see it end.
    ssize_t written = pwrite(pager.file, reason, strlen(reason), clinux_pager_reason_offset);
    (void)written;
    syscall(SYS_pidfd_send_signal, pager.sandbox, SIGKILL, NULL, 0);
    struct pollfd entry = {pager.sandbox, POLLIN, 0};
    while (poll(&entry, 1, -1) < 0 && errno == EINTR) {
    }
}

static void fail(const char *what, int code) {
    char reason[256];
    snprintf(reason, sizeof reason, "%s: %s\n", what, strerror(code));
    end_sandbox(reason);
    *pager.told = 1;
    _exit(1);
}

static void finish(void) {
    for (size_t i = 0; i < pager.count; i++) space_free(pager.spaces[i]);
    // Nobody may take memory for whole whose pages are still asked for.
    unlinkat(pager.directory, pager.name, 0);
    *pager.told = 1;
    _exit(0);
}

static void keep(int filler) {
    prctl(PR_SET_NAME, "ckpt-keeper");
    struct pollfd entry = {filler, POLLIN, 0};
    while (poll(&entry, 1, -1) < 0 && errno == EINTR) {
    }
    if (!*pager.told) end_sandbox("the process that brought its memory back ended\n");
    _exit(0);
}

// Not with vfork's bargain, for both go on: a copy of this memory and the same table of descriptors.
static void start_keeper(void) {
    if (pager.keeper >= 0) close(pager.keeper);
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (self < 0) fail("no handle of a process", errno);
    long pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0L);
    if (pid == 0) keep(self);
    if (pid < 0) fail("no process", errno);
    pager.keeper = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pager.keeper < 0) fail("no handle of a process", errno);
}

static void add_space(struct space *space) {
    struct space **spaces = space ? realloc(pager.spaces, (pager.count + 1) * sizeof *spaces) : NULL;
    if (!spaces) fail("no memory to fill memory", ENOMEM);
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
        fail(errno == EFAULT ? "a part of its memory cannot be read from the store"
                             : "a part of its memory cannot be brought back",
             errno == EFAULT ? EIO : errno);
    return 1;
}

static void wait_for(struct space *space, uint64_t address) {
    // More threads than this wait in the kernel until there is room here again.
    if (pager.waiting_count == most_waiting) fail("too many threads wait for their memory", EAGAIN);
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
    case UFFD_EVENT_UNMAP: failed = space_cut(space, message->arg.remove.start, message->arg.remove.end); break;
    default: break;
    }
    if (failed) fail("no memory to fill memory", ENOMEM);
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
            fail("userfaultfd", errno);
        } else {
            return;
        }
    }
}

static void serve_waiting(void) {
    size_t count = pager.waiting_count;
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
    if (!entries || !spaces) fail("no memory to fill memory", ENOMEM);
    entries[0] = (struct pollfd){pager.sandbox, POLLIN, 0};
    entries[1] = (struct pollfd){pager.keeper, POLLIN, 0};
    for (size_t i = 0; i < count; i++) {
        spaces[i] = pager.spaces[i];
        entries[i + 2] = (struct pollfd){spaces[i]->userfault, POLLIN, 0};
    }
    if (poll(entries, count + 2, timeout) > 0) {
        if (entries[0].revents) finish();
        if (entries[1].revents) {
            while (waitpid(-1, NULL, WNOHANG) > 0) {
            }
            start_keeper();
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
    int timeout = 0;
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
        if (pace == 0 || (now - began) * pace / 1000 > all - (left < all ? left : all)) {
            struct space *space = pager.spaces[next++ % pager.count];
            outcome = space_fill_behind(space, !pager.is_cached);
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
            fail("the rest of its memory cannot be brought back", outcome == no_memory ? ENOMEM : ETIMEDOUT);
    }
    finish();
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
    int descriptors[most_descriptors], count;
    ssize_t got = pager_take(socket, pager.name, sizeof pager.name - 1, descriptors, &count);
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
    read_ahead_of(pager.spaces, pager.count, &pager.is_cached);
    if (pager_answer(socket, "ok")) return 1;
    // The sandbox's PID 1 and the open file, and then a userfaultfd for each process.
    for (size_t have = 0; have < pager.count;) {
        char byte;
        if (pager_take(socket, &byte, 1, descriptors, &count) <= 0) return 1;
        int used = 0;
        if (pager.sandbox < 0) {
            if (count < 2) return 1;
            pager.sandbox = descriptors[used++];
            pager.file = descriptors[used++];
        }
        for (; used < count && have < pager.count; used++) pager.spaces[have++]->userfault = descriptors[used];
    }
    start_keeper();
    if (pager_answer(socket, "ok")) return 1;
    close(socket);
    serve();
    return 0;
}
