#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Commands that are watched are traced by PID 1 (ptrace(2), PTRACE_SEIZE: nothing is stopped for it), with all they
// start. A thread about to die of a signal whose default is a core dump is let go with SIGSTOP instead: its process
// stands still at that instant, registers and all, and the server is told. It saves, and says so (CKPT_CRASH_DONE);
// then the process gets its signal again and dies.
//
// CRIU cannot dump what is traced. So before the connection ends for a save every thread is let go, and when there is
// a connection again those that were watched, and what they have started meanwhile, are taken up again.

enum { WATCHED_TASKS = 16384, CRASHES = 16 };

static pid_t tasks[WATCHED_TASKS];  // threads that are traced
static int task_count;
static pid_t former[WATCHED_TASKS];  // those that were, when the connection ended
static int former_count;
static bool letting_go, watching_all;

static struct crash {
    struct ckpt_crash what;
    bool told;
} crashes[CRASHES];
static int crash_count;

static int find(pid_t tid) {
    for (int i = 0; i < task_count; i++)
        if (tasks[i] == tid) return i;
    return -1;
}

static void forget(pid_t tid) {
    int i = find(tid);
    if (i >= 0) tasks[i] = tasks[--task_count];
}

static bool remember(pid_t tid) {
    if (find(tid) >= 0) return false;
    if (task_count == WATCHED_TASKS) return false;
    tasks[task_count++] = tid;
    return true;
}

static bool has_crashed(pid_t pid) {
    for (int i = 0; i < crash_count; i++)
        if (crashes[i].what.pid == pid) return true;
    return false;
}

/// Reads a file of /proc/TID as text.
static bool proc_text(pid_t tid, const char *name, char *text, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", tid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t got = read(fd, text, size - 1);
    close(fd);
    text[got > 0 ? got : 0] = 0;
    return got > 0;
}

static long long field(const char *text, const char *name, int base) {
    const char *at = strstr(text, name);
    return at ? strtoll(at + strlen(name), NULL, base) : 0;
}

static const long options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;

static void seize(pid_t tid) {
    char status[4096];
    // What stands still for its death is left alone.
    if (crash_count && (!proc_text(tid, "status", status, sizeof status) ||
                        has_crashed((pid_t)field(status, "Tgid:\t", 10))))
        return;
    if (!remember(tid)) return;
    if (ptrace(PTRACE_SEIZE, tid, 0, options) < 0) forget(tid);
}

/// Calls `use` with each number that names an entry of a directory of /proc.
static void each_number(const char *path, void (*use)(pid_t)) {
    char entries[2048] __attribute__((aligned(8)));
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return;
    long got;
    while ((got = syscall(SYS_getdents64, directory, entries, sizeof entries)) > 0)
        for (long at = 0; at < got;) {
            const struct dirent64 *entry = (const void *)(entries + at);
            if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') use(atoi(entry->d_name));
            at += entry->d_reclen;
        }
    close(directory);
}

static void seize_process(pid_t pid) {
    char path[32];
    if (pid == 1) return;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    each_number(path, seize);
}

/// Once more after the last new one: what forks meanwhile is found in the next round.
static void seize_with_descendants(pid_t pid) {
    static pid_t found[4096];
    enum { LIMIT = sizeof found / sizeof *found };
    size_t count = 0;
    found[count++] = pid;
    for (size_t next = 0; next < count; next++) {
        seize_process(found[next]);
        count += children_of(found[next], found + count, LIMIT - count);
    }
}

void crash_watch(pid_t pid, bool all) {
    watching_all |= all;
    if (pid <= 0) return;
    if (connection >= 0 && !connection_ended()) {
        seize_with_descendants(pid);
    } else if (former_count < WATCHED_TASKS) {
        former[former_count++] = pid;  // with the rest, when there is a connection again
    }
}

bool crash_watch_new(pid_t pid) {
    if (connection < 0 || connection_ended()) return false;
    seize(pid);
    return find(pid) >= 0;
}

bool crash_wait_for_exec(pid_t pid) {
    while (true) {
        int status;
        if (waitpid(pid, &status, __WALL) < 0) {
            if (errno == EINTR) continue;
            forget(pid);
            return false;
        }
        if (!WIFSTOPPED(status)) {
            forget(pid);
            return false;
        }
        int event = status >> 16;
        ptrace(PTRACE_CONT, pid, 0, event ? 0 : WSTOPSIG(status));
        if (event == PTRACE_EVENT_EXEC) return true;
    }
}

void crash_connected(void) {
    letting_go = false;
    for (int i = 0; i < crash_count; i++) crashes[i].told = false;
    for (int before = -1; watching_all && task_count > before;) {
        before = task_count;
        each_number("/proc", seize_process);
    }
    for (int i = 0; i < former_count; i++) seize_with_descendants(former[i]);
    former_count = 0;
}

/// Those that still run stop first, which a later turn notices.
bool crash_let_go(void) {
    if (task_count && !letting_go) {
        letting_go = true;
        memcpy(former, tasks, (size_t)task_count * sizeof *tasks);
        former_count = task_count;
        for (int i = 0; i < task_count; i++)
            if (ptrace(PTRACE_INTERRUPT, tasks[i], 0, 0) < 0 && errno == ESRCH) tasks[i--] = tasks[--task_count];
    }
    return task_count == 0;
}

/// Signals whose default action is a core dump (signal(7)).
static bool is_fatal(int signal) {
    static const int fatal[] = {SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        if (fatal[i] == signal) return true;
    return false;
}

/// Whether the signal that a thread is about to get ends its process.
static bool will_die(const char *status, int signal) {
    unsigned long long caught = (unsigned long long)field(status, "SigCgt:\t", 16);
    unsigned long long ignored = (unsigned long long)field(status, "SigIgn:\t", 16);
    return is_fatal(signal) && !((caught | ignored) >> (signal - 1) & 1);
}

/// Waits until a thread that was let go to stand still does so: it has yet to run into its stop. If CRIU came first, it
/// would take it for stopped, and let it run on.
static void wait_until_stopped(pid_t tid) {
    char stat[512];
    struct timespec moment = {0, 100000};
    // Bounded, since somebody may have sent SIGCONT.
    for (int round = 0; round < 10000; round++) {
        if (!proc_text(tid, "stat", stat, sizeof stat)) return;
        const char *end = strrchr(stat, ')');  // the name before it may hold anything
        if (!end || end[1] != ' ' || strchr("TZX", end[2])) return;
        nanosleep(&moment, NULL);
    }
}

/// Notes that the thread is about to die and lets it go standing still; false where it cannot be noted.
static bool hold_crashing(pid_t tid, int signal) {
    char status[4096], name[32];
    siginfo_t info;
    if (crash_count == CRASHES || !proc_text(tid, "status", status, sizeof status)) return false;
    if (!will_die(status, signal) || ptrace(PTRACE_GETSIGINFO, tid, 0, &info) < 0) return false;
    struct crash *c = &crashes[crash_count];
    *c = (struct crash){.what = {.tid = tid, .signal = signal, .code = info.si_code}};
    c->what.pid = (int32_t)field(status, "Tgid:\t", 10);
    c->what.address = (uint64_t)(uintptr_t)info.si_addr;
    if (has_crashed(c->what.pid) || !proc_text(tid, "comm", name, sizeof name)) return false;
    name[strcspn(name, "\n")] = 0;
    memcpy(c->what.command, name, sizeof c->what.command - 1);
    if (ptrace(PTRACE_DETACH, tid, 0, SIGSTOP) < 0) return false;
    wait_until_stopped(tid);
    crash_count++;
    forget(tid);
    return true;
}

/// A call that PTRACE_INTERRUPT broke off starts again, where the kernel would not have it do so by itself.
static void mend_interrupted(pid_t tid) {
    static const unsigned long calls[] = {232, 281, 441, 220, 65, 128, 208, 333, 242, 243};
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, tid, 0, &registers) < 0 || registers.cs != 0x33) return;
    if ((long)registers.rax != -EINTR) return;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (registers.orig_rax != calls[i]) continue;
        registers.rax = registers.orig_rax;
        registers.rip -= 2;
        ptrace(PTRACE_SETREGS, tid, 0, &registers);
        return;
    }
}

/// Whether the thread, which the kernel has traced with the one that made it, is or can be in the table.
static bool take_up(pid_t tid) {
    if (find(tid) >= 0) return true;
    if (letting_go && former_count < WATCHED_TASKS) former[former_count++] = tid;
    return remember(tid);
}

void crash_stopped(pid_t tid, int status) {
    int signal = WSTOPSIG(status), event = status >> 16;
    if (!take_up(tid)) {
        ptrace(PTRACE_DETACH, tid, 0, 0);
        return;
    }
    unsigned long child;
    if (event >= PTRACE_EVENT_FORK && event <= PTRACE_EVENT_CLONE && !ptrace(PTRACE_GETEVENTMSG, tid, 0, &child))
        take_up((pid_t)child);
    if (!event && hold_crashing(tid, signal)) return;
    bool group_stop = event == PTRACE_EVENT_STOP && signal != SIGTRAP;
    if (letting_go) {
        if (event == PTRACE_EVENT_STOP && !group_stop) mend_interrupted(tid);
        // A fork's event comes before the stop that was asked for, which the detach does without.
        ptrace(PTRACE_DETACH, tid, 0, event ? 0 : signal);
        if (group_stop) wait_until_stopped(tid);
        forget(tid);
    } else if (group_stop) {
        ptrace(PTRACE_LISTEN, tid, 0, 0);
    } else {
        ptrace(PTRACE_CONT, tid, 0, event ? 0 : signal);
    }
}

void crash_task_ended(pid_t tid) { forget(tid); }

const struct ckpt_crash *crash_to_tell(void) {
    for (int i = 0; i < crash_count; i++)
        if (!crashes[i].told) return &crashes[i].what;
    return NULL;
}

void crash_told(void) {
    for (int i = 0; i < crash_count; i++)
        if (!crashes[i].told) {
            crashes[i].told = true;
            return;
        }
}

void crash_done(pid_t pid) {
    for (int i = 0; i < crash_count; i++) {
        const struct ckpt_crash *c = &crashes[i].what;
        if (c->pid != pid) continue;
        syscall(SYS_tgkill, c->pid, c->tid, c->signal);
        kill(c->pid, SIGCONT);
        crashes[i] = crashes[--crash_count];
        return;
    }
}
