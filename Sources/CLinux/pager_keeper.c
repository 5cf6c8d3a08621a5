#define _GNU_SOURCE
#include "pager.h"
#include "pager_parts.h"
#include "task_attributes.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// A process that lives on with missing pages whose userfaultfd nobody has any more would be given zeros by
// the kernel. So there are always two of us that hold all descriptors in one table (CLONE_FILES): the one
// that fills, and a keeper that does nothing but wait for the end of the other. Where that ends too early the
// keeper ends the sandbox.

static void end_sandbox(const char *reason) {
    // Before anybody can see it end.
    ssize_t written = pwrite(pager.file, reason, strlen(reason), clinux_pager_reason_offset);
    (void)written;
    syscall(SYS_pidfd_send_signal, pager.sandbox, SIGKILL, NULL, 0);
    struct pollfd entry = {pager.sandbox, POLLIN, 0};
    while (poll(&entry, 1, -1) < 0 && errno == EINTR) {
    }
}

void pager_fail(const char *what, int code) {
    char reason[256];
    snprintf(reason, sizeof reason, "%s: %s\n", what, strerror(code));
    end_sandbox(reason);
    *pager.told = 1;
    _exit(1);
}

void pager_finish(void) {
    for (size_t i = 0; i < pager.count; i++) space_free(pager.spaces[i]);
    // Nobody may take memory for whole whose pages are still asked for.
    unlinkat(pager.directory, pager.name, 0);
    *pager.told = 1;
    // To give the mappings back takes some milliseconds, and who waits for the processors has them first.
    clinux_stand(getpid(), 19);
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
void pager_start_keeper(void) {
    if (pager.keeper >= 0) close(pager.keeper);
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (self < 0) pager_fail("no handle of a process", errno);
    long pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0L);
    if (pid == 0) keep(self);
    if (pid < 0) pager_fail("no process", errno);
    pager.keeper = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pager.keeper < 0) pager_fail("no handle of a process", errno);
}
