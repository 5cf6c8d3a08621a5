// Makes one system call of a running process fail, or kills at it; the rest run as they would.
//
//   injector --server PID [--criu] [--reading] [--after] [--fail N] [--variant V] [--kill-at N --kill TARGET...] [--root ROOT]
//            [--linger MS] [--limit MS] [--report FILE] -- COMMAND...
//
// It seizes every thread of PID (ptrace(2)), runs COMMAND, and counts the calls of PID, and of its children until
// their execve, that change state; with --after those alone that come when COMMAND has ended. With --criu those of CRIU's workers count too; CRIU is let go while the server
// holds it itself, for a task has one tracer. The steps are written to FILE, one a line.
#define _GNU_SOURCE
#include "calls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { max_tasks = 4096, max_kills = 8 };
enum { follow = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                PTRACE_O_TRACEEXEC };

struct task {
    pid_t tid;
    int fails;    // the errno that its call is to end with; 0 is none
    int is_criu;
    int is_parked;  // let go until the server has given it back
};

static struct task tasks[max_tasks];
static int task_count;
static pid_t server, client;
static int wants_criu, counts_after, fail_at, variant, step;
static const char *root = "", *kill_targets[max_kills];
static int kill_at, kill_count;
static FILE *report;
static volatile sig_atomic_t time_is_up;
static int is_stuck;

static void on_alarm(int number) { time_is_up = number; }

static struct task *find(pid_t tid) {
    for (int i = 0; i < task_count; i++)
        if (tasks[i].tid == tid) return &tasks[i];
    return NULL;
}

static struct task *add(pid_t tid) {
    struct task *task = find(tid);
    if (task) return task;
    if (task_count == max_tasks) {
        fprintf(stderr, "injector: more than %d tasks\n", max_tasks);
        exit(3);
    }
    task = &tasks[task_count++];
    memset(task, 0, sizeof *task);
    task->tid = tid;
    return task;
}

static void forget(pid_t tid) {
    struct task *task = find(tid);
    if (task) *task = tasks[--task_count];
}

// The program that a process runs.
static void program_of(pid_t pid, char *name, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    ssize_t length = readlink(path, name, size - 1);
    name[length > 0 ? length : 0] = 0;
}

static int is_program(pid_t pid, const char *wanted) {
    char name[PATH_MAX];
    program_of(pid, name, sizeof name);
    const char *last = strrchr(name, '/');
    return strcmp(last ? last + 1 : name, wanted) == 0;
}

static int parent_of(pid_t pid) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    int parent = 0;
    if (fgets(line, sizeof line, file)) {
        char *end = strrchr(line, ')');
        if (end) sscanf(end + 1, " %*c %d", &parent);
    }
    fclose(file);
    return parent;
}

// Whether the mounts of a process show that it is a sandbox of the root.
static int is_of_root(pid_t pid) {
    char path[64], line[8192], mark[PATH_MAX + 32];
    snprintf(path, sizeof path, "/proc/%d/mountinfo", pid);
    snprintf(mark, sizeof mark, "%s/sandboxes/", root);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    int found = 0;
    while (!found && fgets(line, sizeof line, file)) found = strstr(line, mark) != NULL;
    fclose(file);
    return found;
}

static int kill_matching(int (*matches)(pid_t)) {
    DIR *proc = opendir("/proc");
    int killed = 0;
    for (struct dirent *entry; (entry = readdir(proc));) {
        pid_t pid = atoi(entry->d_name);
        if (pid > 0 && matches(pid) && kill(pid, SIGKILL) == 0) killed++;
    }
    closedir(proc);
    return killed;
}

static int is_its_criu(pid_t pid) { return is_program(pid, "criu") && parent_of(pid) == server; }

static int is_its_init(pid_t pid) {
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    int read = fscanf(file, "%31s", name);
    fclose(file);
    return read == 1 && strcmp(name, "ckpt-init") == 0 && is_of_root(pid);
}

static void kill_now(void) {
    for (int i = 0; i < kill_count; i++) {
        int killed = 0;
        if (!strcmp(kill_targets[i], "criu")) killed = kill_matching(is_its_criu);
        if (!strcmp(kill_targets[i], "init")) killed = kill_matching(is_its_init);
        if (!strcmp(kill_targets[i], "client")) killed = client > 0 && kill(client, SIGKILL) == 0;
        if (!strcmp(kill_targets[i], "server")) killed = kill(server, SIGKILL) == 0;
        if (report) fprintf(report, "killed %s %d\n", kill_targets[i], killed);
    }
    if (report) fflush(report);
}

static void go_on(pid_t tid, int request, int signal) { ptrace(request, tid, 0, (long)signal); }

// Lets CRIU go while the server wants to be its tracer; it waits for an answer then, in a call.
static void park(pid_t criu) {
    struct task *task = find(criu);
    if (!task || task->is_parked) return;
    task->is_parked = 1;
    ptrace(PTRACE_INTERRUPT, criu, 0, 0L);
    int status;
    while (waitpid(criu, &status, __WALL) < 0 && errno == EINTR) {}
    ptrace(PTRACE_DETACH, criu, 0, 0L);
}

static void take_back(pid_t criu) {
    struct task *task = find(criu);
    if (!task || !task->is_parked) return;
    if (ptrace(PTRACE_SEIZE, criu, 0, (long)PTRACE_O_TRACESYSGOOD) || ptrace(PTRACE_INTERRUPT, criu, 0, 0L)) {
        forget(criu);
        return;
    }
    task->is_parked = 0;
}

static void note_ptrace(struct task *task, const struct __ptrace_syscall_info *info) {
    if (!wants_criu || task->is_criu || info->entry.nr != SYS_ptrace) return;
    if (info->entry.args[0] == PTRACE_SEIZE) park((pid_t)info->entry.args[1]);
}

static void entering(struct task *task, const struct __ptrace_syscall_info *info) {
    char detail[256];
    const struct call *call = step_of(task->tid, info, detail, sizeof detail);
    if (counts_after && client) call = NULL;
    if (!call) return note_ptrace(task, info);
    step++;
    int error = fail_at == step ? errno_of(call, variant) : 0;
    if (report) {
        fprintf(report, "%d %s %s %s%s%s\n", step, task->is_criu ? "criu" : "server", call->name, detail,
                error ? " failed " : "", error ? strerrorname_np(error) : "");
        if (error) fflush(report);
    }
    if (error) {
        // No such call: the kernel skips it (arch/x86/entry/common.c).
        ptrace(PTRACE_POKEUSER, task->tid, offset_of_call_number, -1L);
        task->fails = error;
    }
    if (kill_count && kill_at == step) kill_now();
    note_ptrace(task, info);
}

static void at_call(struct task *task) {
    struct __ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, task->tid, sizeof info, &info) <= 0) return;
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) return entering(task, &info);
    if (info.op != PTRACE_SYSCALL_INFO_EXIT) return;
    if (task->fails) {
        ptrace(PTRACE_POKEUSER, task->tid, offset_of_result, (long)-task->fails);
        task->fails = 0;
    }
    // The server has given CRIU back: the end of that very call is not told apart from others, nor need it be.
    for (int i = 0; wants_criu && !task->is_criu && i < task_count; i++)
        if (tasks[i].is_parked && !is_traced(tasks[i].tid)) take_back(tasks[i].tid);
}

static void at_exec(pid_t tid) {
    if (wants_criu && is_program(tid, "criu")) {
        ptrace(PTRACE_SETOPTIONS, tid, 0, (long)PTRACE_O_TRACESYSGOOD);
        add(tid)->is_criu = 1;
        return go_on(tid, PTRACE_SYSCALL, 0);
    }
    forget(tid);
    ptrace(PTRACE_DETACH, tid, 0, 0L);
}

static void stopped(pid_t tid, int status) {
    int signal = WSTOPSIG(status), event = status >> 16;
    struct task *task = add(tid);
    if (event == PTRACE_EVENT_EXEC) return at_exec(tid);
    if (event == PTRACE_EVENT_STOP) {
        // A group stop is listened to; our own interruption and a new task's first stop go on.
        int is_group = signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
        return go_on(tid, is_group ? PTRACE_LISTEN : PTRACE_SYSCALL, 0);
    }
    if (event) return go_on(tid, PTRACE_SYSCALL, 0);
    if (signal == (SIGTRAP | 0x80)) {
        at_call(task);
        return go_on(tid, PTRACE_SYSCALL, 0);
    }
    go_on(tid, PTRACE_SYSCALL, signal);
}

static void seize_all(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", server);
    // A thread that starts meanwhile is a new entry: until a pass finds none.
    for (int found = 1; found;) {
        found = 0;
        DIR *threads = opendir(path);
        if (!threads) {
            fprintf(stderr, "injector: no process %d\n", server);
            exit(3);
        }
        for (struct dirent *entry; (entry = readdir(threads));) {
            pid_t tid = atoi(entry->d_name);
            if (tid <= 0 || find(tid)) continue;
            if (ptrace(PTRACE_SEIZE, tid, 0, (long)follow)) continue;
            add(tid);
            ptrace(PTRACE_INTERRUPT, tid, 0, 0L);
            found = 1;
        }
        closedir(threads);
    }
}

static void release_all(void) {
    for (int i = 0; i < task_count; i++)
        if (!tasks[i].is_parked) ptrace(PTRACE_INTERRUPT, tasks[i].tid, 0, 0L);
    while (task_count > 0) {
        pid_t tid = tasks[task_count - 1].tid;
        int status;
        if (!tasks[task_count - 1].is_parked && waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status)) {
            struct __ptrace_syscall_info info;
            if (WSTOPSIG(status) == (SIGTRAP | 0x80) && tasks[task_count - 1].fails &&
                ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof info, &info) > 0 &&
                info.op == PTRACE_SYSCALL_INFO_EXIT)
                ptrace(PTRACE_POKEUSER, tid, offset_of_result, (long)-tasks[task_count - 1].fails);
            int signal = WSTOPSIG(status);
            int is_real = status >> 16 == 0 && signal != (SIGTRAP | 0x80);
            ptrace(PTRACE_DETACH, tid, 0, is_real ? (long)signal : 0L);
        }
        task_count--;
    }
}

static pid_t start(char **command) {
    pid_t pid = fork();
    if (pid == 0) {
        execvp(command[0], command);
        _exit(127);
    }
    return pid;
}

static void stop_after(int milliseconds) {
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {.it_value = {milliseconds / 1000, milliseconds % 1000 * 1000 + 1},
                              .it_interval = {0, 10000}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

// Runs the tracees until the command has ended and the time after it is over; the command's status.
static int trace(int linger_for) {
    int code = -1;
    while (!time_is_up || client) {
        int status;
        pid_t tid = waitpid(-1, &status, __WALL);
        if (tid < 0 && errno == EINTR) {
            if (time_is_up && client) is_stuck = kill(client, SIGKILL) == 0;
            continue;
        }
        if (tid < 0) break;
        if (tid == client) {
            code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            client = 0;
            time_is_up = 0;
            stop_after(linger_for);
        } else if (WIFSTOPPED(status)) {
            stopped(tid, status);
        } else {
            forget(tid);
        }
    }
    return code;
}

int main(int count, char **words) {
    int linger_for = 30, limit = 60000, at = 1;
    for (; at < count && strcmp(words[at], "--"); at++) {
        if (!strcmp(words[at], "--criu")) wants_criu = 1;
        else if (!strcmp(words[at], "--after")) counts_after = 1;
        else if (!strcmp(words[at], "--reading")) counts_reading = 1;
        else if (at + 1 >= count) return 2;
        else if (!strcmp(words[at], "--server")) server = atoi(words[++at]);
        else if (!strcmp(words[at], "--fail")) fail_at = atoi(words[++at]);
        else if (!strcmp(words[at], "--variant")) variant = atoi(words[++at]);
        else if (!strcmp(words[at], "--root")) root = words[++at];
        else if (!strcmp(words[at], "--linger")) linger_for = atoi(words[++at]);
        else if (!strcmp(words[at], "--limit")) limit = atoi(words[++at]);
        else if (!strcmp(words[at], "--kill-at")) kill_at = atoi(words[++at]);
        else if (!strcmp(words[at], "--kill") && kill_count < max_kills) kill_targets[kill_count++] = words[++at];
        else if (!strcmp(words[at], "--report")) report = fopen(words[++at], "we");
        else return 2;
    }
    if (at + 1 >= count || server <= 0) {
        fprintf(stderr, "injector: --server PID ... -- COMMAND is needed\n");
        return 2;
    }
    seize_all();
    client = start(words + at + 1);
    stop_after(limit);
    int code = trace(linger_for);
    release_all();
    if (report) {
        fprintf(report, "end %d %d%s\n", code, step, is_stuck ? " stuck" : "");
        fclose(report);
    }
    return 0;
}
