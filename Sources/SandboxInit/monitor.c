#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// A command with a timeout gets a parent of its own, a child subreaper: whatever the command starts stays
// below it, also what daemonizes, so that when time is up all of it can be found and nothing else is hit.
// PID 1 could not tell a daemon of one command from that of another. (CRIU keeps the subreaper attribute:
// criu/pie/restorer.c, restore_child_subreaper.) When the command ends in time the monitor ends too, and
// what is left passes to PID 1.

static void report(int to, const struct monitor_report *r) {
    while (write(to, r, sizeof *r) < 0 && errno == EINTR) {}
}

/// Reaps what is there; true when `pid` was among it.
static bool reap(pid_t pid, int *status, bool *childless) {
    bool found = false;
    *childless = false;
    while (true) {
        int one;
        pid_t got = waitpid(-1, &one, WNOHANG);
        if (got == 0) return found;
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            *childless = true;
            return found;
        }
        if (got == pid) {
            *status = one;
            found = true;
        }
    }
}

/// Kills all that is below until nothing is. Each round stops everything first: what is stopped cannot
/// fork away from the kill.
static void kill_everything(pid_t pid, int *status) {
    bool childless = false;
    for (long pause = 500000; !childless; pause = pause < 16000000 ? 2 * pause : pause) {
        size_t seen = 0, now;
        while ((now = signal_descendants(getpid(), SIGSTOP, NULL, 0)) > seen) seen = now;
        signal_descendants(getpid(), SIGKILL, NULL, 0);
        struct timespec wait = {0, pause};
        nanosleep(&wait, NULL);
        reap(pid, status, &childless);
    }
}

static void monitor_main(const struct launch *what, uint64_t timeout_ms, int to) __attribute__((noreturn));
static void monitor_main(const struct launch *what, uint64_t timeout_ms, int to) {
    prctl(PR_SET_NAME, "ckpt-monitor");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    signal(SIGCHLD, SIG_DFL);
    sigset_t all, child;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);

    uint64_t deadline = now_ns() + timeout_ms * 1000000;
    struct monitor_report r = {0};
    // PID 1 traces the monitor, and so what it starts.
    struct launch unwatched = *what;
    unwatched.watch = false;
    pid_t pid = launch(&unwatched, &r.failure);
    if (pid < 0) {
        char text[512];
        failure_text(text, what, r.failure);
        if (write(what->fd[STDERR], text, strlen(text)) < 0) {}
    }
    // The command's pipes must end with the command: nothing but the report stays open here.
    dup2(to, 3);
    syscall(SYS_close_range, 4, ~0u, 0);
    r.pid = pid > 0 ? pid : 0;
    report(3, &r);
    if (pid < 0) _exit(0);

    bool childless;
    while (!reap(pid, &r.status, &childless)) {
        uint64_t now = now_ns();
        if (now >= deadline) {
            kill_everything(pid, &r.status);
            r.timed_out = 1;
            break;
        }
        uint64_t left = deadline - now;
        struct timespec wait = {(time_t)(left / 1000000000), (long)(left % 1000000000)};
        sigtimedwait(&child, NULL, &wait);  // EINTR after a restore: the loop asks again
    }
    r.ended = 1;
    report(3, &r);
    _exit(0);
}

pid_t monitor_start(const struct launch *what, uint64_t timeout_ms, int *reports) {
    int ends[2], gate[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return -1;
    if (pipe2(gate, O_CLOEXEC) < 0) {
        int code = errno;
        close(ends[0]);
        close(ends[1]);
        errno = code;
        return -1;
    }
    pid_t pid = fork();
    if (pid == 0) {
        char none;
        close(gate[1]);
        while (read(gate[0], &none, 1) < 0 && errno == EINTR) {}
        monitor_main(what, timeout_ms, ends[1]);
    }
    int code = errno;
    if (pid > 0 && what->watch) crash_watch(pid, false);
    close(gate[0]);
    close(gate[1]);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        errno = code;
        return -1;
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    *reports = ends[0];
    return pid;
}
