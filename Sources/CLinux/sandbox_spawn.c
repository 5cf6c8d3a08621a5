#define _GNU_SOURCE
#include "sandbox_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eager_wait.h"
#include "pager.h"
#include "sandbox_birth.h"

// The child stands on our memory until it executes PID 1. A copy would cost more than all else here: the tables of pages,
// and then a fault for each page that we write to.
//
// One clone3 for all namespaces but that of time, which no other user of our memory may enter: the child makes it, so that it
// belongs to the child's user namespace (CRIU refuses a tree whose namespaces have different owners, namespaces.c,
// check_user_ns), and PID 1 enters it.
static const uint64_t namespaces =
    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET;

enum { STACK = 1 << 14 };

static const char *const steps[] = {
    [BIRTH_GO] = "wait for the id map and the mounts",
    [BIRTH_CGROUP] = "unshare the cgroup namespace",
    [BIRTH_GROUPS] = "setgroups",
    [BIRTH_PRIVATE] = "mount --make-rprivate /",
    [BIRTH_ATTACH] = "attach a mount of the root",
    [BIRTH_PROC] = "mount /proc",
    [BIRTH_CLOCKS] = "make the time namespace",
    [BIRTH_BIND] = "bind /sys and what is hidden below /proc and it",
    [BIRTH_PIVOT] = "pivot_root",
    [BIRTH_DETACH] = "detach the old root",
    [BIRTH_HAND_OVER] = "hand over descriptors",
    [BIRTH_EXECUTE] = "execve ckpt-init",
};

static int write_proc(pid_t pid, const char *file, const char *text) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t n = write(fd, text, strlen(text));
    int saved = errno;
    close(fd);
    errno = saved;
    return n < 0 ? -1 : 0;
}

static int fail(struct clinux_spawn_failure *failure, const char *step, int code) {
    failure->step = step;
    failure->code = code;
    return -1;
}

static int join_cgroups(const struct clinux_sandbox *sandbox, pid_t pid) {
    char text[16];
    int length = snprintf(text, sizeof text, "%d", (int)pid);
    for (int i = 0; i < sandbox->cgroup_count; i++)
        if (write(sandbox->cgroup_procs[i], text, (size_t)length) != length) return -1;
    return 0;
}

/// Some mounts with each byte, and BIRTH_BEGIN with the last; an errno.
static int send_mounts(const struct clinux_sandbox *sandbox, int go) {
    static const char more = BIRTH_MORE, begin = BIRTH_BEGIN;
    int numbers[clinux_most_descriptors], count = 0;
    for (int i = 0; i < sandbox->mounts; i++) {
        if (sandbox->mount_fds[i] < 0) continue;
        numbers[count++] = sandbox->mount_fds[i];
        if (count < clinux_most_descriptors) continue;
        int code = clinux_send_descriptors(go, &more, 1, numbers, count);
        if (code) return code;
        count = 0;
    }
    return clinux_send_descriptors(go, &begin, 1, numbers, count);
}

// Lets the child go once it is in its cgroups and its ids are mapped, and waits until it has executed init or failed.
static int release(const struct clinux_sandbox *sandbox, pid_t pid, int go, int report_fd,
                   struct clinux_spawn_failure *failure) {
    static const char identity[] = "0 0 4294967295";
    if (join_cgroups(sandbox, pid)) return fail(failure, "join the sandbox's cgroups", errno);
    if (write_proc(pid, "uid_map", identity)) return fail(failure, "write uid_map", errno);
    if (write_proc(pid, "gid_map", identity)) return fail(failure, "write gid_map", errno);
    int code = sandbox->fill_mounts(sandbox->context);
    if (code) return fail(failure, "open the mounts of the root", code);
    if ((code = send_mounts(sandbox, go))) return fail(failure, "release the child", code);
    struct birth_report report;
    ssize_t n;
    clinux_look_out(&report_fd, 1, CLINUX_EAGERNESS);
    do n = read(report_fd, &report, sizeof report);
    while (n < 0 && errno == EINTR);
    if (n == 0) return 0;
    if (n != (ssize_t)sizeof report) return fail(failure, "read the child's report", n < 0 ? errno : EPIPE);
    return fail(failure, steps[report.step], report.code);
}

pid_t clinux_spawn_sandbox(const struct clinux_sandbox *sandbox, int *pidfd, struct clinux_spawn_failure *failure) {
    int report[2];
    struct birth birth = {.sandbox = sandbox, .clocks_length = sandbox->clocks ? (long)strlen(sandbox->clocks) : 0};
    // The child's until it has memory of its own or is no more, for which we wait here.
    char stack[STACK] __attribute__((aligned(16)));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, birth.go)) return fail(failure, "socketpair", errno);
    birth.mount_fds = calloc((size_t)sandbox->mounts + 1, sizeof *birth.mount_fds);
    if (!birth.mount_fds || pipe2(report, O_CLOEXEC)) {
        int code = errno;
        free(birth.mount_fds);
        close(birth.go[0]);
        close(birth.go[1]);
        return fail(failure, "pipe2", code);
    }
    birth.report_fd = report[1];
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    struct clone_args args;
    memset(&args, 0, sizeof args);
    args.flags = (sandbox->shares_network ? namespaces & ~(uint64_t)CLONE_NEWNET : namespaces) | CLONE_VM | CLONE_PIDFD;
    args.pidfd = (uint64_t)(uintptr_t)pidfd;
    args.exit_signal = SIGCHLD;
    args.stack = (uint64_t)(uintptr_t)stack;
    args.stack_size = STACK;
    bool in_nursery = sandbox->nursery_fd >= 0 && !setns(sandbox->nursery_fd, CLONE_NEWNET);
    pid_t pid = (pid_t)birth_clone(&args, &birth);
    int stranded = 0;
    if (in_nursery && setns(sandbox->own_netns_fd, CLONE_NEWNET)) stranded = errno;
    pthread_sigmask(SIG_SETMASK, &before, 0);
    close(birth.go[0]);
    close(report[1]);
    int result;
    if (pid < 0) result = fail(failure, "clone3", -pid);
    else if (stranded) result = fail(failure, "setns(back)", stranded);
    else result = release(sandbox, pid, birth.go[1], report[0], failure);
    close(birth.go[1]);
    close(report[0]);
    if (result < 0 && pid > 0) {
        kill(pid, SIGKILL);
        while (waitpid(pid, 0, 0) < 0 && errno == EINTR) {}
        close(*pidfd);
    }
    free(birth.mount_fds);
    return result < 0 ? -1 : pid;
}
