#define _GNU_SOURCE
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { path_size = 512, options_size = 2048, stack_size = 1 << 16 };

// What the child needs, made before it is born: it stands on our memory until it executes bash.
struct start {
    char merged[path_size], options[options_size];
    const char *step;
    int code;
};

static int fail(struct start *start, const char *step) {
    start->code = errno;
    start->step = step;
    return 127;
}

static void default_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; signal++) sigaction(signal, &action, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, 0);
}

// Runs as PID 1 of the new namespaces.
static int enter(void *argument) {
    struct start *start = argument;
    char *const arguments[] = {"bash", "--norc", "--noprofile", 0};
    char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", 0};

    default_signals();
    if (setsid() < 0) return fail(start, "setsid");
    if (mount(0, "/", 0, MS_REC | MS_PRIVATE, 0)) return fail(start, "make the mounts private");
    if (mount("overlay", start->merged, "overlay", 0, start->options)) return fail(start, "mount the overlay");
    if (chdir(start->merged)) return fail(start, "enter the overlay");
    if (mount("proc", "proc", "proc", 0, 0)) return fail(start, "mount /proc");
    if (syscall(SYS_pivot_root, ".", ".")) return fail(start, "pivot_root");
    if (umount2(".", MNT_DETACH)) return fail(start, "detach the old root");
    if (chdir("/")) return fail(start, "chdir");
    // Both for reading and writing: a FIFO with one end alone would block, or end.
    int input = open("/.floor-in", O_RDWR), output = open("/.floor-out", O_RDWR);
    if (input < 0 || output < 0) return fail(start, "open the FIFOs");
    if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) return fail(start, "dup2");
    syscall(SYS_close_range, 3, ~0U, 0);
    execve("/bin/bash", arguments, environment);
    return fail(start, "execute bash");
}

static int make_directory(const char *directory, const char *name) {
    char path[path_size];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return mkdir(path, 0755) && errno != EEXIST ? -1 : 0;
}

static int make_fifo(const char *directory, const char *name) {
    char path[path_size];
    snprintf(path, sizeof path, "%s/upper/%s", directory, name);
    return mkfifo(path, 0600) && errno != EEXIST ? -1 : 0;
}

static int describe(struct start *start, const char *directory, const char *lower) {
    memset(start, 0, sizeof *start);
    int merged = snprintf(start->merged, sizeof start->merged, "%s/merged", directory);
    int options = snprintf(start->options, sizeof start->options, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work",
                           lower, directory, directory);
    if (merged < path_size - 16 && options < options_size) return 0;
    errno = ENAMETOOLONG;
    return -1;
}

int cfloor_start(struct cfloor_box *box, const char *directory, const char *lower, const char **step) {
    static char stack[stack_size] __attribute__((aligned(16)));
    static struct start start;
    box->pid = -1;
    box->input = box->output = -1;
    *step = "prepare";
    if (describe(&start, directory, lower)) return -1;
    if (mkdir(directory, 0755) && errno != EEXIST) return -1;
    if (make_directory(directory, "upper") || make_directory(directory, "work") || make_directory(directory, "merged"))
        return -1;
    if (make_fifo(directory, ".floor-in") || make_fifo(directory, ".floor-out")) return -1;
    // No handler of ours may run in the child.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET;
    box->pid = clone(enter, stack + sizeof stack, namespaces | CLONE_VM | CLONE_VFORK | SIGCHLD, &start);
    int code = errno;
    pthread_sigmask(SIG_SETMASK, &before, 0);
    *step = "clone";
    if (box->pid > 0 && start.step) {
        while (waitpid(box->pid, 0, 0) < 0 && errno == EINTR) {}
        *step = start.step;
        code = start.code;
        box->pid = -1;
    }
    if (box->pid < 0) {
        errno = code;
        return -1;
    }
    *step = "open the FIFOs";
    if (!cfloor_adopt(box, box->pid)) return 0;
    code = errno;
    cfloor_kill(box);
    errno = code;
    return -1;
}

int cfloor_mount(const char *directory, const char *lower) {
    struct start start;
    if (describe(&start, directory, lower)) return -1;
    return mount("overlay", start.merged, "overlay", 0, start.options);
}

int cfloor_adopt(struct cfloor_box *box, pid_t pid) {
    char path[64];
    box->pid = pid;
    snprintf(path, sizeof path, "/proc/%d/root/.floor-in", pid);
    box->input = open(path, O_RDWR | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/%d/root/.floor-out", pid);
    box->output = open(path, O_RDWR | O_CLOEXEC);
    return box->input < 0 || box->output < 0 ? -1 : 0;
}

int cfloor_ask(const struct cfloor_box *box, const char *text, int milliseconds) {
    size_t length = strlen(text);
    if (write(box->input, text, length) != (ssize_t)length) return -1;
    char answer[4096];
    for (;;) {
        struct pollfd ready = {.fd = box->output, .events = POLLIN};
        int count = poll(&ready, 1, milliseconds);
        if (count < 0 && errno == EINTR) continue;
        if (count == 0) errno = ETIMEDOUT;
        if (count <= 0) return -1;
        ssize_t got = read(box->output, answer, sizeof answer);
        if (got <= 0) return -1;
        if (memchr(answer, '=', got)) return 0;
    }
}

void cfloor_kill(struct cfloor_box *box) {
    if (box->pid > 0) {
        kill(box->pid, SIGKILL);
        while (waitpid(box->pid, 0, 0) < 0 && errno == EINTR) {}
    }
    box->pid = -1;
}

void cfloor_close(struct cfloor_box *box) {
    if (box->input >= 0) close(box->input);
    if (box->output >= 0) close(box->output);
    box->input = box->output = -1;
}
