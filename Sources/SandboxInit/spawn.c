#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

// The child shares our memory until its exec (CLONE_VM with CLONE_VFORK, as posix_spawn does): no page
// table is copied and its failure is simply left in `failure`. It runs on a stack of its own. Between a
// change of user and the exec the kernel holds the shared memory undumpable, so the new user cannot reach
// into PID 1 through its child; launch() makes PID 1 dumpable again afterwards.
static char child_stack[32768] __attribute__((aligned(16)));

//
// A command that is watched for its death is traced before its exec, or a crash in its first moments went unseen.
// So it has no CLONE_VFORK: it waits until it is traced, and its exec is awaited as a stop of the trace.
struct start {
    const struct launch *what;
    struct launch_failure *failure;
    int held;  // a futex: the child waits while it is 1
};

void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static const char *environment_value(char **envp, const char *name) {
    size_t length = strlen(name);
    for (; *envp; envp++)
        if (!strncmp(*envp, name, length) && (*envp)[length] == '=') return *envp + length + 1;
    return NULL;
}

/// Executes one file; a text file without `#!` is run by sh, as execvp(3) and shells do.
static void execute_file(const struct launch *what, const char *path) {
    execve(path, what->argv, what->envp);
    if (errno != ENOEXEC) return;
    char *name = what->argv[0];
    what->argv[-1] = "sh";
    what->argv[0] = (char *)path;
    execve("/bin/sh", what->argv - 1, what->envp);
    what->argv[0] = name;
    errno = ENOEXEC;
}

/// execvpe(3) with the command's own PATH; leaves the errno that says most.
static void execute(const struct launch *what) {
    const char *name = what->argv[0];
    if (!*name) {
        errno = ENOENT;
        return;
    }
    if (strchr(name, '/')) {
        execute_file(what, name);
        return;
    }
    const char *path = environment_value(what->envp, "PATH");
    if (!path) path = "/usr/local/bin:/usr/bin:/bin";
    int code = ENOENT;
    for (const char *end; path; path = end ? end + 1 : NULL) {
        char file[4096];
        end = strchr(path, ':');
        size_t length = end ? (size_t)(end - path) : strlen(path);
        if (length + strlen(name) + 2 > sizeof file) continue;
        memcpy(file, path, length);
        if (length) file[length++] = '/';
        strcpy(file + length, name);
        execute_file(what, file);
        if (errno != ENOENT && errno != ENOTDIR) code = errno;
        if (code != ENOENT && code != EACCES) break;
    }
    errno = code;
}

/// Puts the descriptors in their places; those of PID 1 that move are close-on-exec, and the rest goes.
static bool arrange_streams(const struct launch *what) {
    for (int i = 0; i < 3; i++)
        if (dup2(what->fd[i], i) < 0) return false;
    unsigned kept = 2;
    // First out of the way: in a busy PID 1 one may already have the other's number.
    int moved[2] = {-1, -1};
    for (int i = 0; i < 2; i++) {
        if (what->extra[i] < 0) continue;
        moved[i] = fcntl(what->extra[i], F_DUPFD, EXTRA_FD + 2);
        if (moved[i] < 0) return false;
    }
    for (int i = 0; i < 2; i++) {
        if (moved[i] < 0) continue;
        if (dup2(moved[i], EXTRA_FD + i) < 0) return false;
        syscall(SYS_close_range, kept + 1, EXTRA_FD + i - 1, 0);
        kept = EXTRA_FD + i;
    }
    syscall(SYS_close_range, kept + 1, ~0u, 0);
    return !what->tty || ioctl(0, TIOCSCTTY, 0) == 0;
}

// The raw calls: glibc's wrappers would signal threads through state that is shared with PID 1 here.
static bool become_user(const struct launch *what) {
    return syscall(SYS_setgroups, what->group_count, what->groups) == 0 &&
           syscall(SYS_setresgid, what->gid, what->gid, what->gid) == 0 &&
           syscall(SYS_setresuid, what->uid, what->uid, what->uid) == 0;
}

static bool enter_directory(const struct launch *what) {
    if (chdir(what->cwd) == 0) return true;
    int code = errno;
    if (what->any_cwd && chdir("/") == 0) return true;
    errno = code;
    return false;
}

static struct rlimit file_limit;

// 256 commands and 64 sessions need more descriptors than the 1024 that programs are used to.
void raise_file_limit(void) {
    getrlimit(RLIMIT_NOFILE, &file_limit);
    struct rlimit all = {file_limit.rlim_max, file_limit.rlim_max};
    setrlimit(RLIMIT_NOFILE, &all);
}

static int child_main(void *argument) {
    const struct start *start = argument;
    const struct launch *what = start->what;
    while (__atomic_load_n(&start->held, __ATOMIC_ACQUIRE)) syscall(SYS_futex, &start->held, FUTEX_WAIT, 1, NULL);
    setsid();
    signal(SIGPIPE, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
    int step = CKPT_STEP_STREAMS;
    if (!arrange_streams(what)) goto failed;
    setrlimit(RLIMIT_NOFILE, &file_limit);
    step = CKPT_STEP_WALLS;
    if (!walls_limit_process() || !walls_before_user(what->uid)) goto failed;
    step = CKPT_STEP_USER;
    if (!become_user(what)) goto failed;
    step = CKPT_STEP_CHDIR;
    if (!enter_directory(what)) goto failed;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    step = CKPT_STEP_WALLS;
    if (!walls_before_exec(what->uid)) goto failed;
    step = CKPT_STEP_EXEC;
    execute(what);
failed:
    start->failure->code = errno;
    start->failure->step = step;
    _exit(127);
}

/// Starts the child traced; 0 where that cannot be, so that it is to be started without.
static pid_t launch_watched(struct start *start) {
    start->held = 1;
    pid_t pid = clone(child_main, child_stack + sizeof child_stack, CLONE_VM | SIGCHLD, start);
    if (pid < 0) return -1;
    if (!crash_watch_new(pid)) {
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
        start->held = 0;
        return 0;
    }
    __atomic_store_n(&start->held, 0, __ATOMIC_RELEASE);
    syscall(SYS_futex, &start->held, FUTEX_WAKE, 1);
    if (!crash_wait_for_exec(pid) && !start->failure->step)
        *start->failure = (struct launch_failure){CKPT_STEP_EXEC, EINTR};  // killed on its way
    return pid;
}

pid_t launch(const struct launch *what, struct launch_failure *failure) {
    *failure = (struct launch_failure){0, 0};
    struct start start = {what, failure, 0};
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = what->watch ? launch_watched(&start) : 0;
    bool watched = pid != 0;
    if (!watched)
        pid = clone(child_main, child_stack + sizeof child_stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &start);
    int code = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    prctl(PR_SET_DUMPABLE, 1);
    if (pid < 0) {
        *failure = (struct launch_failure){CKPT_STEP_FORK, code};
        return -1;
    }
    if (failure->step) {
        while (!watched && waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
        return -1;
    }
    return pid;
}
