#define _GNU_SOURCE
#include "sandbox_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdbool.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eager_wait.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

// The child stands on our memory until it executes PID 1. A copy would cost more than all else here: the tables of pages,
// and then a fault for each page that we write to. It may therefore only call what does not touch what threads have of
// their own; errno is ours too, but while it makes calls that may fail we wait for its report.
//
// One clone for all namespaces but that of time, which no other user of our memory may enter: the child makes it, so that it
// belongs to the child's user namespace (CRIU refuses a tree whose namespaces have different owners, namespaces.c,
// check_user_ns), and PID 1 enters it.
enum {
    NAMESPACES = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET,
    STACK = 1 << 16,
};

// What the child needs, made before it is born.
struct birth {
    const struct clinux_sandbox *sandbox;
    int go[2];
    int report_fd;
};

// What the child writes on the report pipe when a step fails; execve closes the pipe instead.
struct report {
    int step;
    int code;
};

static const char *const steps[] = {
    "wait for the id map",
    "unshare the cgroup namespace",
    "setgroups",
    "mount --make-rprivate /",
    "attach a mount of the root",
    "mount /proc",
    "make the time namespace",
    "bind /sys and what is hidden below /proc and it",
    "pivot_root",
    "detach the old root",
    "hand over descriptors",
    "execve ckpt-init",
};

static void reset_signals(void) {
    struct sigaction act;
    memset(&act, 0, sizeof act);
    act.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; signal++) {
        // Which cannot be had, by the kernel's word or the C library's.
        bool is_kept = signal == SIGKILL || signal == SIGSTOP || (signal > SIGSYS && signal < SIGRTMIN);
        if (!is_kept) sigaction(signal, &act, 0);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, 0);
}

// Puts `a` on descriptor 3 and `b` on 4, whatever numbers they have, both open across execve.
static int place(int a, int b) {
    int high_a = (int)syscall(SYS_fcntl, a, F_DUPFD, 10), high_b = (int)syscall(SYS_fcntl, b, F_DUPFD, 10);
    if (high_a < 0 || high_b < 0) return -1;
    if (dup2(high_a, 3) < 0 || dup2(high_b, 4) < 0) return -1;
    syscall(SYS_close, high_a);
    syscall(SYS_close, high_b);
    return 0;
}

// Binds what lies at `path` on itself and lets that be written, whatever the mount it lies on.
static int make_writable(const char *path) {
    if (mount(path, path, 0, MS_BIND, 0)) return -1;
    struct mount_attr change = {.attr_clr = MOUNT_ATTR_RDONLY};
    return mount_setattr(AT_FDCWD, path, 0, &change, sizeof change);
}

static int attach(const struct clinux_sandbox *sandbox) {
    for (int i = 0; i < sandbox->mounts; i++) {
        const char *target = i ? sandbox->mount_paths[i] : sandbox->staging;
        if (sandbox->mount_fds[i] < 0) {
            if (make_writable(target)) return -1;
        } else if (move_mount(sandbox->mount_fds[i], "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH)) {
            return -1;
        }
        if (i == 0 && chdir(target)) return -1;
    }
    return 0;
}

/// Makes a time namespace, for PID 1 to enter. One made by clone3 would have the machine's clocks for good.
static int make_clocks(const char *clocks) {
    if (unshare(CLONE_NEWTIME)) return -1;
    if (!clocks) return 0;
    int file = (int)syscall(SYS_openat, AT_FDCWD, "proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    if (file < 0) return -1;
    long length = (long)strlen(clocks), put = syscall(SYS_write, file, clocks, length);
    syscall(SYS_close, file);
    return put == length ? 0 : -1;
}

static int enter(const struct clinux_sandbox *sandbox, int go, int *step) {
    char byte;
    *step = 0;
    if (syscall(SYS_read, go, &byte, 1) != 1) return -1;
    *step = 1;
    // Once the parent has moved us: the namespace's root is where its first member is when it is made.
    if (unshare(CLONE_NEWCGROUP)) return -1;
    *step = 2;
    if (syscall(SYS_setgroups, 0, 0)) return -1;
    *step = 3;
    if (mount(0, "/", 0, MS_REC | MS_PRIVATE, 0)) return -1;
    *step = 4;
    // Attached here, and not inherited: an inherited mount is locked, and pivot_root refuses a locked one.
    if (attach(sandbox)) return -1;
    *step = 5;
    // While the host's is still in this namespace: in a user namespace the kernel mounts proc only where an
    // unobscured one is visible already (fs/namespace.c, mount_too_revealing).
    if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0)) return -1;
    *step = 6;
    if (make_clocks(sandbox->clocks)) return -1;
    *step = 7;
    for (int i = 0; i < sandbox->binds; i++)
        if (mount(sandbox->bind_sources[i], sandbox->bind_paths[i], 0, MS_BIND, 0)) return -1;
    *step = 8;
    if (syscall(SYS_pivot_root, ".", ".")) return -1;
    *step = 9;
    if (umount2(".", MNT_DETACH) || chdir("/")) return -1;
    return 0;
}

static int child(void *argument) {
    const struct birth *birth = argument;
    const struct clinux_sandbox *sandbox = birth->sandbox;
    struct report report = {0, 0};
    reset_signals();
    syscall(SYS_close, birth->go[1]);
    // Above 4, so that the hand-over does not close it.
    int report_fd = (int)syscall(SYS_fcntl, birth->report_fd, F_DUPFD_CLOEXEC, 10);
    if (enter(sandbox, birth->go[0], &report.step) == 0) {
        report.step = 10;
        if (place(sandbox->plan_fd, sandbox->status_fd) == 0) {
            char *argv[] = {"ckpt-init", 0}, *envp[] = {0};
            syscall(SYS_close_range, 5, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */);
            report.step = 11;
            execve(sandbox->init, argv, envp);
        }
    }
    report.code = errno;
    while (syscall(SYS_write, report_fd, &report, sizeof report) < 0 && errno == EINTR) {}
    return 127;
}

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

// Lets the child go once it is in its cgroups and its ids are mapped, and waits until it has executed init or failed.
static int release(const struct clinux_sandbox *sandbox, pid_t pid, int go, int report_fd,
                   struct clinux_spawn_failure *failure) {
    static const char identity[] = "0 0 4294967295";
    if (join_cgroups(sandbox, pid)) return fail(failure, "join the sandbox's cgroups", errno);
    if (write_proc(pid, "uid_map", identity)) return fail(failure, "write uid_map", errno);
    if (write_proc(pid, "gid_map", identity)) return fail(failure, "write gid_map", errno);
    if (write(go, "g", 1) != 1) return fail(failure, "release the child", errno);
    struct report report;
    ssize_t n;
    clinux_look_out(report_fd, CLINUX_EAGERNESS);
    do n = read(report_fd, &report, sizeof report);
    while (n < 0 && errno == EINTR);
    if (n == 0) return 0;
    if (n != (ssize_t)sizeof report) return fail(failure, "read the child's report", n < 0 ? errno : EPIPE);
    return fail(failure, steps[report.step], report.code);
}

pid_t clinux_spawn_sandbox(const struct clinux_sandbox *sandbox, int *pidfd, struct clinux_spawn_failure *failure) {
    int report[2];
    struct birth birth = {.sandbox = sandbox};
    char *stack = aligned_alloc(16, STACK);
    if (!stack) return fail(failure, "the child's stack", ENOMEM);
    if (pipe2(birth.go, O_CLOEXEC)) {
        free(stack);
        return fail(failure, "pipe2", errno);
    }
    if (pipe2(report, O_CLOEXEC)) {
        int code = errno;
        close(birth.go[0]);
        close(birth.go[1]);
        free(stack);
        return fail(failure, "pipe2", code);
    }
    birth.report_fd = report[1];
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int flags = (sandbox->shares_network ? NAMESPACES & ~CLONE_NEWNET : NAMESPACES) | CLONE_VM | CLONE_PIDFD | SIGCHLD;
    bool in_nursery = sandbox->nursery_fd >= 0 && !setns(sandbox->nursery_fd, CLONE_NEWNET);
    pid_t pid = clone(child, stack + STACK, flags, &birth, pidfd);
    int code = errno, stranded = 0;
    if (in_nursery && setns(sandbox->own_netns_fd, CLONE_NEWNET)) stranded = errno;
    pthread_sigmask(SIG_SETMASK, &before, 0);
    close(birth.go[0]);
    close(report[1]);
    int result;
    if (pid < 0) result = fail(failure, "clone", code);
    else if (stranded) result = fail(failure, "setns(back)", stranded);
    else result = release(sandbox, pid, birth.go[1], report[0], failure);
    close(birth.go[1]);
    close(report[0]);
    if (result < 0 && pid > 0) {
        kill(pid, SIGKILL);
        while (waitpid(pid, 0, 0) < 0 && errno == EINTR) {}
        close(*pidfd);
        pid = -1;
    }
    // It has memory of its own now, or is no more.
    free(stack);
    return pid;
}
