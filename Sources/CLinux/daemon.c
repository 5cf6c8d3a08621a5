#define _GNU_SOURCE
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(int report) {
    int code = errno;
    ssize_t written = write(report, &code, sizeof code);
    (void)written;
    _exit(127);
}

// Runs between fork(2) and execve(2), of a process that may have threads: async-signal-safe calls only.
static void become_daemon(const char *path, char *const argv[], char *const envp[], int log_fd, int ready_fd,
                          int report) {
    if (setsid() < 0)
        fail(report);
    pid_t pid = fork();
    if (pid < 0)
        fail(report);
    if (pid > 0)
        _exit(0);

    // First out of the way of 0 to 4, which are their places.
    log_fd = fcntl(log_fd, F_DUPFD, 16);
    ready_fd = fcntl(ready_fd, F_DUPFD, 16);
    report = fcntl(report, F_DUPFD, 16);
    int null_fd = open("/dev/null", O_RDONLY);
    if (log_fd < 0 || ready_fd < 0 || report < 0 || null_fd < 0)
        _exit(127);
    if (dup2(null_fd, 0) < 0 || dup2(log_fd, 1) < 0 || dup2(log_fd, 2) < 0 || dup2(ready_fd, 3) < 0 ||
        dup3(report, 4, O_CLOEXEC) < 0)
        fail(report);
    close_range(5, ~0U, 0);

    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (chdir("/") < 0)
        fail(4);
    execve(path, argv, envp);
    fail(4);
}

int clinux_spawn_detached(const char *path, char *const argv[], char *const envp[], int log_fd,
                          int ready_fd) {
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0)
        return errno;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        become_daemon(path, argv, envp, log_fd, ready_fd, report[1]);
    int code = pid < 0 ? errno : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(report[1]);
    if (pid > 0) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        ssize_t got;
        while ((got = read(report[0], &code, sizeof code)) < 0 && errno == EINTR) {
        }
        if (got != sizeof code)
            code = 0;
    }
    close(report[0]);
    return code;
}

static volatile int stop_fd = -1;

static void on_stop_signal(int number) {
    int code = errno;
    char byte = (char)number;
    ssize_t written = write(stop_fd, &byte, 1);
    (void)written;
    errno = code;
}

static void on_pipe_signal(int number) { (void)number; }

int clinux_catch_stop_signals(int fd) {
    stop_fd = fd;
    struct sigaction action = {.sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    action.sa_handler = on_stop_signal;
    if (sigaction(SIGTERM, &action, NULL) < 0 || sigaction(SIGINT, &action, NULL) < 0)
        return -1;
    action.sa_handler = on_pipe_signal;
    if (sigaction(SIGPIPE, &action, NULL) < 0)
        return -1;
    // The mask survives execve(2): a parent may have blocked them, as libdispatch's workers do.
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    errno = pthread_sigmask(SIG_UNBLOCK, &stop, NULL);
    return errno == 0 ? 0 : -1;
}
