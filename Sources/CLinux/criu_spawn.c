#define _GNU_SOURCE
#include "criu_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { first_kept = 3, scratch = 64 };

static int fail(struct clinux_spawn_failure *failure, const char *step) {
    failure->code = errno;
    failure->step = step;
    return -1;
}

// Descriptors 0 to 2 on /dev/null, the kept ones from 3 on, nothing else. Two passes, for a kept one may have
// the number that another is to get.
static int arrange_descriptors(const struct clinux_worker *worker, struct clinux_spawn_failure *failure) {
    int null = open("/dev/null", O_RDWR);
    if (null < 0) return fail(failure, "open /dev/null");
    int moved[scratch];
    for (int i = 0; i < worker->kept_count; i++) {
        moved[i] = fcntl(worker->kept[i], F_DUPFD, first_kept + worker->kept_count);
        if (moved[i] < 0) return fail(failure, "fcntl(F_DUPFD)");
    }
    for (int fd = 0; fd < first_kept; fd++)
        if (dup2(null, fd) < 0) return fail(failure, "dup2");
    for (int i = 0; i < worker->kept_count; i++)
        if (dup2(moved[i], first_kept + i) < 0) return fail(failure, "dup2");
    unsigned int first_unwanted = first_kept + worker->kept_count;
    if (syscall(SYS_close_range, first_unwanted, ~0U, 0)) return fail(failure, "close_range");
    return 0;
}

static int enter_surroundings(const struct clinux_worker *worker, struct clinux_spawn_failure *failure) {
    if (setsid() < 0) return fail(failure, "setsid");
    for (int i = 0; i < worker->cgroup_count; i++)
        if (write(worker->cgroup_procs[i], "0", 1) != 1) return fail(failure, "write cgroup.procs");
    // After the move: the namespace's root is where its first member is when it is made.
    if (worker->new_cgroup_namespace && unshare(CLONE_NEWCGROUP)) return fail(failure, "unshare(cgroup)");
    for (int i = 0; worker->home_procs && i < worker->cgroup_count; i++)
        if (write(worker->home_procs[i], "0", 1) != 1) return fail(failure, "write cgroup.procs");
    if (worker->netns_fd >= 0 && setns(worker->netns_fd, CLONE_NEWNET)) return fail(failure, "setns(net)");
    if (chdir("/")) return fail(failure, "chdir /");
    umask(worker->umask);
    return 0;
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

pid_t clinux_spawn_worker(const struct clinux_worker *worker, struct clinux_spawn_failure *failure) {
    if (worker->kept_count > scratch) {
        errno = E2BIG;
        return fail(failure, "hand over descriptors");
    }
    // No handler of ours may run in the child: until execve it stands on our memory and our stack.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failure->step = 0;
    failure->code = 0;
    pid_t pid = vfork();
    if (pid == 0) {
        // What the child stores in `failure` is there for the parent, which waits: vfork(2)'s bargain.
        if (enter_surroundings(worker, failure) == 0 && arrange_descriptors(worker, failure) == 0) {
            default_signals();
            execve(worker->path, worker->argv, worker->envp);
            fail(failure, "execve");
        }
        _exit(127);
    }
    if (pid < 0) fail(failure, "vfork");
    pthread_sigmask(SIG_SETMASK, &before, 0);
    if (pid > 0 && failure->step) {
        while (waitpid(pid, 0, 0) < 0 && errno == EINTR) {}
        return -1;
    }
    return pid;
}
