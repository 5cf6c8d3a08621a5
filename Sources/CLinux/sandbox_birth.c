#define _GNU_SOURCE
#include "sandbox_birth.h"
#include "pager.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// The child stands on the server's memory, and has the thread that made it for its own: errno and all else of a thread's are
// that one's, which runs on. So nothing here calls the C library, nor lets a sanitizer keep books.
#if __has_attribute(disable_sanitizer_instrumentation)
#define ALONE __attribute__((disable_sanitizer_instrumentation))
#else
#define ALONE
#endif
#define WITHIN ALONE static inline __attribute__((always_inline))

/// A system call; an errno comes negated.
WITHIN long ask(long number, long a, long b, long c, long d, long e) {
    long result;
    register long fourth __asm__("r10") = d;
    register long fifth __asm__("r8") = e;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth)
                     : "rcx", "r11", "memory");
    return result;
}

ALONE static void reset_signals(void) {
    // The kernel's sigaction: handler, flags, restorer, mask. Those that cannot be had refuse.
    static const unsigned long by_default[4], none;
    for (int signal = 1; signal < NSIG; signal++)
        ask(SYS_rt_sigaction, signal, (long)by_default, 0, sizeof none, 0);
    ask(SYS_rt_sigprocmask, SIG_SETMASK, (long)&none, 0, sizeof none, 0);
}

// Puts what is handed over on descriptors from 3 on, whatever numbers it has, open across execve; all others are closed by
// that.
ALONE static long hand_over(const struct clinux_sandbox *sandbox) {
    int given[3], count = 2;
    given[0] = sandbox->plan_fd;
    given[1] = sandbox->status_fd;
    if (sandbox->device_fd >= 0) given[count++] = sandbox->device_fd;
    for (int i = 0; i < count; i++) {
        long high = ask(SYS_fcntl, given[i], F_DUPFD_CLOEXEC, 10, 0, 0);
        if (high < 0) return high;
        given[i] = (int)high;
    }
    for (int i = 0; i < count; i++) {
        long code = ask(SYS_dup2, given[i], 3 + i, 0, 0, 0);
        if (code < 0) return code;
    }
    return ask(SYS_close_range, 3 + count, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */, 0, 0);
}

// Binds what lies at `path` on itself and lets that be written, whatever the mount it lies on.
ALONE static long make_writable(const char *path) {
    long code = ask(SYS_mount, (long)path, (long)path, 0, MS_BIND, 0);
    if (code < 0) return code;
    struct mount_attr change;
    change.attr_set = change.propagation = change.userns_fd = 0;
    change.attr_clr = MOUNT_ATTR_RDONLY;
    return ask(SYS_mount_setattr, AT_FDCWD, (long)path, 0, (long)&change, sizeof change);
}

ALONE static long attach(const struct birth *birth) {
    const struct clinux_sandbox *sandbox = birth->sandbox;
    for (int i = 0, next = 0; i < sandbox->mounts; i++) {
        const char *target = i ? sandbox->mount_paths[i] : sandbox->staging;
        long code = sandbox->mount_fds[i] < 0
                        ? make_writable(target)
                        : ask(SYS_move_mount, birth->mount_fds[next++], (long)"", AT_FDCWD, (long)target,
                              MOVE_MOUNT_F_EMPTY_PATH);
        if (code >= 0 && i == 0) code = ask(SYS_chdir, (long)target, 0, 0, 0, 0);
        if (code < 0) return code;
    }
    return 0;
}

/// Makes a time namespace, for PID 1 to enter. One made by clone3 would have the machine's clocks for good.
ALONE static long make_clocks(const char *clocks, long length) {
    long code = ask(SYS_unshare, CLONE_NEWTIME, 0, 0, 0, 0);
    if (code < 0 || !clocks) return code;
    long file = ask(SYS_openat, AT_FDCWD, (long)"proc/self/timens_offsets", O_WRONLY | O_CLOEXEC, 0, 0);
    if (file < 0) return file;
    long put = ask(SYS_write, file, (long)clocks, length, 0, 0);
    ask(SYS_close, file, 0, 0, 0, 0);
    return put == length || put < 0 ? put : -EIO;
}

ALONE static long bind_all(const struct clinux_sandbox *sandbox) {
    for (int i = 0; i < sandbox->binds; i++) {
        long code =
            ask(SYS_mount, (long)sandbox->bind_sources[i], (long)sandbox->bind_paths[i], 0, MS_BIND, 0);
        if (code < 0) return code;
    }
    return 0;
}

/// Waits until it may go on, and takes the mounts, which were opened while it was made.
ALONE static long await_go(const struct birth *birth) {
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(clinux_most_descriptors * sizeof(int))];
    } control;
    // volatile: no copy is to become a call of the C library's.
    volatile int *taken = birth->mount_fds;
    for (char byte = BIRTH_MORE; byte != BIRTH_BEGIN;) {
        struct iovec part;
        struct msghdr message;
        part.iov_base = &byte;
        part.iov_len = 1;
        message.msg_name = 0;
        message.msg_namelen = 0;
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        message.msg_flags = 0;
        long got = ask(SYS_recvmsg, birth->go[0], (long)&message, MSG_CMSG_CLOEXEC, 0, 0);
        if (got != 1) return got < 0 ? got : -EPIPE;
        if (message.msg_flags & MSG_CTRUNC) return -EMFILE;
        if (message.msg_controllen < sizeof control.head) continue;
        const volatile int *numbers = (const volatile int *)CMSG_DATA(&control.head);
        size_t count = (control.head.cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) *taken++ = numbers[i];
    }
    return 0;
}

/// Leaves in `step` how far it came.
ALONE static long enter(const struct birth *birth, int *step) {
    const struct clinux_sandbox *sandbox = birth->sandbox;
    long code;
#define STEP(which, call) \
    *step = which;        \
    if ((code = (call)) < 0) return code
    STEP(BIRTH_GO, await_go(birth));
    // Once the parent has moved us: the namespace's root is where its first member is when it is made.
    STEP(BIRTH_CGROUP, ask(SYS_unshare, CLONE_NEWCGROUP, 0, 0, 0, 0));
    STEP(BIRTH_GROUPS, ask(SYS_setgroups, 0, 0, 0, 0, 0));
    STEP(BIRTH_PRIVATE, ask(SYS_mount, 0, (long)"/", 0, MS_REC | MS_PRIVATE, 0));
    // Attached here, and not inherited: an inherited mount is locked, and pivot_root refuses a locked one.
    STEP(BIRTH_ATTACH, attach(birth));
    // While the host's is still in this namespace: in a user namespace the kernel mounts proc only where an
    // unobscured one is visible already (fs/namespace.c, mount_too_revealing).
    STEP(BIRTH_PROC,
         ask(SYS_mount, (long)"proc", (long)"proc", (long)"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0));
    STEP(BIRTH_CLOCKS, make_clocks(sandbox->clocks, birth->clocks_length));
    STEP(BIRTH_BIND, bind_all(sandbox));
    STEP(BIRTH_PIVOT, ask(SYS_pivot_root, (long)".", (long)".", 0, 0, 0));
    STEP(BIRTH_DETACH, ask(SYS_umount2, (long)".", MNT_DETACH, 0, 0, 0));
    STEP(BIRTH_DETACH, ask(SYS_chdir, (long)"/", 0, 0, 0, 0));
    STEP(BIRTH_HAND_OVER, hand_over(sandbox));
    ask(SYS_prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0);
    char *argv[2], *envp[1];
    argv[0] = (char *)"ckpt-init";
    argv[1] = envp[0] = 0;
    STEP(BIRTH_EXECUTE, ask(SYS_execve, (long)sandbox->init, (long)argv, (long)envp, 0, 0));
#undef STEP
    return 0;
}

ALONE static void live(const struct birth *birth) {
    struct birth_report report;
    // Another child that is made just now has our pipe open too: it alone would not tell that the server has died.
    ask(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    reset_signals();
    ask(SYS_close, birth->go[1], 0, 0, 0, 0);
    // Above 4, so that the hand-over does not close it.
    long report_fd = ask(SYS_fcntl, birth->report_fd, F_DUPFD_CLOEXEC, 10, 0, 0);
    report.code = (int)-enter(birth, &report.step);
    while (ask(SYS_write, report_fd, (long)&report, sizeof report, 0, 0) == -EINTR) {}
    for (;;) ask(SYS_exit_group, 127, 0, 0, 0, 0);
}

ALONE long birth_clone(struct clone_args *args, const struct birth *birth) {
    long result;
    register const struct birth *kept __asm__("r12") = birth;
    register void (*then)(const struct birth *) __asm__("r13") = live;
    // The child has a stack with nothing on it, so it cannot return from here.
    __asm__ volatile(
        "syscall\n\t"
        "testq %%rax, %%rax\n\t"
        "jnz 1f\n\t"
        "xorl %%ebp, %%ebp\n\t"
        "movq %%r12, %%rdi\n\t"
        "callq *%%r13\n\t"
        "hlt\n"
        "1:"
        : "=a"(result)
        : "a"((long)SYS_clone3), "D"(args), "S"(sizeof *args), "r"(kept), "r"(then)
        : "rcx", "r11", "memory");
    return result;
}
