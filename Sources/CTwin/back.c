#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "look.h"
#include "sets.h"

enum { CROWD = 16384 };

bool is_cleared;

/// Kills what lives below a process.
static void kill_below(pid_t pid) {
    pid_t children[256];
    size_t count = proc_children(pid, children, 256);
    for (size_t i = 0; i < count && i < 256; i++) {
        if (is_twin(children[i])) continue;
        kill(children[i], SIGKILL);
        hurry_to_end(children[i]);
        kill_below(children[i]);
    }
}

// PID 1 stands still and cannot reap: so it is made to, for a pid is free only then.
static bool reap(pid_t child) {
    pid_t inner = proc_inner(child);
    if (inner == 0) return true;
    long result = task_call(&init_task, SYS_wait4, (unsigned long)inner, 0, __WALL, 0);
    return result == inner || result == -ECHILD || refuse("process %d does not end", inner);
}

bool live_clear(pid_t init, bool *is_touched) {
    static pid_t children[CROWD];
    if (!task_hold(&init_task, init)) return false;
    *is_touched = is_cleared = true;
    for (size_t count; (count = live_children(init, children, CROWD)) > 0;) {
        if (out_of_time()) return refuse("its processes do not end");
        kill_below(init);
        // What these leave becomes PID 1's when they end.
        for (size_t i = 0; i < count && i < CROWD; i++)
            if (!reap(children[i])) return false;
    }
    return true;
}

/// Makes the next process of the sandbox's pid namespace have this pid.
///
/// What a twin is made to call has the rights of the twin, which may not choose a pid (clone3(2), set_tid). A
/// child of ours in the namespace may say what the last one was (pid_namespaces(7), ns_last_pid).
static bool choose_pid(pid_t init, pid_t inner) {
    static int last = -1;
    if (last < 0) last = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    int process = (int)syscall(SYS_pidfd_open, init, 0);
    if (last < 0 || process < 0 || setns(process, CLONE_NEWPID))
        return refuse("the pid namespace cannot be entered: %s", strerror(errno));
    close(process);
    char text[16];
    size_t length = 0;
    for (int rest = inner - 1, digits[12], count = 0;; rest /= 10) {
        digits[count++] = rest % 10;
        if (rest >= 10) continue;
        while (count) text[length++] = (char)('0' + digits[--count]);
        break;
    }
    volatile int code = 0;
    pid_t child = vfork();
    if (child == 0) {
        if (pwrite(last, text, length, 0) != (ssize_t)length) code = errno;
        _exit(0);
    }
    if (child < 0) return refuse("vfork: %s", strerror(errno));
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
    return code == 0 || refuse("ns_last_pid: %s", strerror(code));
}

/// Forks a twin under the pid that the original had.
static bool fork_again(struct twin *twin, struct task *task) {
    enum { TRIES = 200 };
    for (int tries = 0; tries < TRIES; tries++) {
        pid_t born;
        if (!choose_pid(init_task.pid, twin->inner)) return false;
        unsigned long flags = CLONE_PARENT | SIGCHLD | (twin->clear_at ? CLONE_CHILD_CLEARTID : 0);
        task_bring(&twin->kept);
        long pid = task_fork(&twin->kept, flags, twin->clear_at, &born);
        task_send(&twin->kept);
        if (pid < 0) return refuse("a twin cannot be forked: %s", strerror((int)-pid));
        if (!task_adopt(task, born, &twin->kept)) return false;
        if (pid == twin->inner) return true;
        kill(born, SIGKILL);
        while (waitpid(born, NULL, __WALL) < 0 && errno == EINTR) {}
        if (!reap(born)) return false;
        usleep(50);
    }
    return refuse("pid %d is taken", twin->inner);
}

static bool give_the_rest(const struct twin *twin, struct task *task) {
    if (task_call(task, SYS_setsid, 0, 0, 0, 0) < 0) return refuse("setsid failed");
    if (twin->robust_list && task_call(task, SYS_set_robust_list, twin->robust_list, twin->robust_size, 0, 0))
        return refuse("set_robust_list failed");
    unsigned long signal = (unsigned long)twin->death_signal;
    if (signal && task_call(task, SYS_prctl, PR_SET_PDEATHSIG, signal, 0, 0))
        return refuse("prctl(PR_SET_PDEATHSIG) failed");
    for (int which = ITIMER_REAL; which <= ITIMER_PROF; which++) {
        struct itimerval timer = twin->timers[which];
        if (!timer.it_value.tv_sec && !timer.it_value.tv_usec) continue;
        if (task_call_with(task, SYS_setitimer, (unsigned long)which, &timer, sizeof timer, true, 0))
            return refuse("setitimer failed");
    }
    return true;
}

static bool revive(struct twin *twin, struct task *task) {
    if (!files_put_back(&twin->files, twin->kept.pid) || !fork_again(twin, task)) return false;
    // Its tracer is the twin's, by whose death it would die: from here on it is the sandbox's own.
    if (!task_leave(task)) return false;
    restart_call(&task->registers);
    return true;
}

/// PID 1 goes on as its copy stands.
static bool turn_init_back(struct set *set) {
    if (!files_put_back(&set->init.files, set->init.kept.pid)) return false;
    if (!files_of_init(&set->init.files, &init_task, set->init.kept.pid, set->init.kept_inner)) return false;
    if (!ipc_look(init_task.pid, true) || !memory_of_init(&init_task, &set->init.kept)) return false;
    init_task.registers = set->init.kept.registers;
    init_task.mask = set->init.kept.mask;
    restart_call(&init_task.registers);
    return true;
}

bool set_revive(struct set *set) {
    for (size_t i = 0; i < set->count; i++) {
        if (!revive(&set->list[i], &live[i])) return false;
        live_count = i + 1;
    }
    return turn_init_back(set);
}

bool set_go_back_to_files(struct set *set) {
    for (size_t i = 0; i < set->count; i++)
        if (!files_open_anew(&set->list[i].files, &live[i]) || !give_the_rest(&set->list[i], &live[i])) return false;
    return files_open_anew(&set->init.files, &init_task);
}
