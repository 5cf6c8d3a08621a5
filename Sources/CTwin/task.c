#include "task.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ccalls.h"
#include "look.h"

// Not in every <sys/ptrace.h> (<linux/ptrace.h>).
enum { SUSPEND_SECCOMP = 1 << 21, RESET_ON_FORK = 0x40000000 };
#define GET_SIGMASK ((enum __ptrace_request)0x420a)
#define SET_SIGMASK ((enum __ptrace_request)0x420b)
enum { BIRTHS = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE };

_Thread_local char why[400];
_Thread_local bool is_passing;
static cpu_set_t ours, one;
static bool gathered;
static int our_policy;
static time_t gathered_at;

bool refuse(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    return false;
}

bool for_now(bool refused) {
    is_passing = true;
    return refused;
}

static time_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

/// Has a process run at once; returns how it was scheduled. Whom it makes is scheduled so too, unless `alone`.
static int hurry(pid_t pid, bool alone) {
    const struct sched_param first = {.sched_priority = 1};
    int policy = sched_getscheduler(pid);
    bool is_usual = policy == SCHED_OTHER || policy == SCHED_BATCH || policy == SCHED_IDLE;
    return is_usual && sched_setscheduler(pid, SCHED_FIFO | (alone ? RESET_ON_FORK : 0), &first) == 0 ? policy : -1;
}

void hurry_to_end(pid_t pid) { hurry(pid, true); }

static void slow_down(pid_t pid, int policy) {
    const struct sched_param none = {0};
    if (policy >= 0) sched_setscheduler(pid, policy, &none);
}

void begin_time(void) { gathered_at = now(); }

void tasks_gather(int asker) {
    int here = sched_getcpu();
    begin_time();
    gathered = here >= 0 && sched_getaffinity(0, sizeof ours, &ours) == 0;
    if (!gathered) return;
    // Who asked woke us where it runs itself, and would be run after everything here.
    for (int other = 0; here == asker && other < CPU_SETSIZE; other++)
        if (other != asker && CPU_ISSET(other, &ours)) here = other;
    CPU_ZERO(&one);
    CPU_SET(here, &one);
    sched_setaffinity(0, sizeof one, &one);
    our_policy = hurry(0, true);
    // Wakes a wait(2) for a process that does not stop.
    struct itimerval often = {{0, 250000}, {0, 250000}};
    setitimer(ITIMER_REAL, &often, NULL);
}

void tasks_part(void) {
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
    if (gathered) {
        slow_down(0, our_policy);
        sched_setaffinity(0, sizeof ours, &ours);
    }
    gathered = false;
}

void tasks_roam(void) {
    if (gathered) sched_setaffinity(0, sizeof ours, &ours);
}

bool out_of_time(void) { return now() - gathered_at > PATIENCE; }

/// Where it was, it is brought from when it stands still: whom it makes until then would have to stay here.
static void bring_here(struct task *task) {
    // A copy of it is to inherit its nice value, which one that is scheduled afresh does not (kernel/sched/core.c, sched_fork).
    const struct sched_param first = {.sched_priority = 1};
    if (task->policy >= 0) sched_setscheduler(task->pid, SCHED_FIFO, &first);
    if (sched_getaffinity(task->pid, sizeof task->cpus, &task->cpus)) CPU_ZERO(&task->cpus);
    if (gathered && CPU_COUNT(&task->cpus)) sched_setaffinity(task->pid, sizeof one, &one);
}

static int open_slack(pid_t pid, int flags) {
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/timerslack_ns", pid);
    return open(path, flags | O_CLOEXEC);
}

/// How late its timers may be. Who runs first of all has no slack, and afterwards the one it began with
/// (kernel/sched/syscalls.c, __setscheduler_params, Linux 6.13); of whom it makes meanwhile that is none, for good.
static void note_slack(struct task *task) {
    int file = open_slack(task->pid, O_RDONLY);
    ssize_t got = file >= 0 ? read(file, task->slack, sizeof task->slack) : -1;
    task->slack_size = got > 0 ? (size_t)got : 0;
    if (file >= 0) close(file);
}

/// Has it scheduled as it was.
static void calm_down(const struct task *task) {
    slow_down(task->pid, task->policy);
    if (task->policy < 0 || !task->slack_size) return;
    int file = open_slack(task->pid, O_WRONLY);
    // Without it its timers are as punctual as they can be.
    if (file >= 0 && write(file, task->slack, task->slack_size) < 0) {}
    if (file >= 0) close(file);
}

static void send_home(const struct task *task) {
    calm_down(task);
    if (CPU_COUNT(&task->cpus)) sched_setaffinity(task->pid, sizeof task->cpus, &task->cpus);
}

static bool failed(const struct task *task, const char *what) {
    return refuse("process %d: %s: %s", task->pid, what, strerror(errno));
}

/// Waits for its next stop; its status goes to `status`.
static bool wait_stop(const struct task *task, int *status) {
    while (waitpid(task->pid, status, __WALL) < 0) {
        if (errno != EINTR) return failed(task, "waitpid");
        if (out_of_time()) return refuse("process %d did not stop within %d s", task->pid, PATIENCE);
    }
    if (!WIFSTOPPED(*status)) return refuse("process %d ended meanwhile", task->pid);
    return true;
}

static bool take_registers(struct task *task) {
    // A step's own signal has to come: where it is blocked the kernel takes away its handler
    // (kernel/signal.c, force_sig_info_to_task).
    static const uint64_t all = ~(1ull << (SIGTRAP - 1));
    if (ptrace(PTRACE_GETREGS, task->pid, 0L, &task->registers)) return failed(task, "its registers");
    // What is to hold again after sigsuspend(2), ppoll(2) and the like (kernel/ptrace.c, PTRACE_GETSIGMASK).
    if (ptrace(GET_SIGMASK, task->pid, sizeof task->mask, &task->mask)) return failed(task,
                                                                                      "its signal mask");
    // A signal would come before a step.
    if (ptrace(SET_SIGMASK, task->pid, sizeof all, &all)) return failed(task, "its signal mask");
    return true;
}

bool task_hold(struct task *task, pid_t pid) {
    *task = (struct task){.pid = pid};
    // Whom it makes before it stands still is not traced with it, and found among its children.
    if (ptrace(PTRACE_SEIZE, pid, 0L, (long)SUSPEND_SECCOMP)) return failed(task, "cannot be traced");
    task->held = true;
    if (gathered) note_slack(task);
    task->policy = gathered ? hurry(task->pid, true) : -1;
    if (ptrace(PTRACE_INTERRUPT, pid, 0L, 0L)) {
        failed(task, "cannot be stopped");
        send_home(task);
        ptrace(PTRACE_DETACH, pid, 0L, 0L);
        task->held = false;
        return false;
    }
    int status;
    bool stands = false;
    while (!stands) {
        if (!wait_stop(task, &status)) break;
        stands = status >> 16 == PTRACE_EVENT_STOP;
        // A signal that came first is handed on.
        if (!stands && ptrace(PTRACE_CONT, pid, 0L, (long)WSTOPSIG(status))) break;
    }
    bring_here(task);
    if (stands && WSTOPSIG(status) != SIGTRAP) stands = refuse("process %d is stopped by a signal", pid);
    if (stands && take_registers(task)) {
        task->instruction = find_system_call(task);
        if (task->instruction) return true;
        refuse("process %d: no system call instruction was found in its memory", pid);
        task_release(task);
        return false;
    }
    send_home(task);
    ptrace(PTRACE_DETACH, pid, 0L, 0L);
    task->held = false;
    return false;
}

void task_wait_turn(struct task *task) {
    calm_down(task);
    task->policy = -1;
}

bool task_adopt(struct task *task, pid_t pid, const struct task *parent) {
    *task = *parent;
    task->pid = pid;
    task->held = true;
    int status;
    if (!wait_stop(task, &status)) {
        task->held = false;
        return false;
    }
    return true;
}

/// Sets its registers for a call or a run of code that is not its own.
static bool set_registers(struct task *task, struct user_regs_struct *registers) {
    // Else the kernel would take the interrupted call for this one and start it again.
    registers->orig_rax = -1UL;
    return ptrace(PTRACE_SETREGS, task->pid, 0L, registers) == 0;
}

/// What a process was stopped by: the pid of one that it made, if that was it; 0 for anything else.
static pid_t birth(const struct task *task, int status) {
    int event = status >> 16;
    if (event != PTRACE_EVENT_FORK && event != PTRACE_EVENT_VFORK && event != PTRACE_EVENT_CLONE) return 0;
    unsigned long pid = 0;
    ptrace(PTRACE_GETEVENTMSG, task->pid, 0L, &pid);
    return (pid_t)pid;
}

static long step(struct task *task, pid_t *born) {
    int status;
    if (ptrace(PTRACE_SINGLESTEP, task->pid, 0L, 0L)) return -errno;
    for (;;) {
        if (!wait_stop(task, &status)) return -ESRCH;
        if (status >> 16 == 0 && WSTOPSIG(status) == SIGTRAP) break;
        pid_t child = birth(task, status);
        if (born && child) *born = child;
        if (ptrace(PTRACE_SINGLESTEP, task->pid, 0L, 0L)) return -errno;
    }
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, task->pid, 0L, &registers)) return -errno;
    return (long)registers.rax;
}

static long call(struct task *task, long number, const unsigned long arguments[5], pid_t *born) {
    struct user_regs_struct registers = task->registers;
    registers.rip = task->instruction;
    registers.rax = (unsigned long)number;
    registers.rdi = arguments[0];
    registers.rsi = arguments[1];
    registers.rdx = arguments[2];
    registers.r10 = arguments[3];
    registers.r8 = arguments[4];
    registers.r9 = 0;
    if (!set_registers(task, &registers)) return -errno;
    return step(task, born);
}

long task_call(struct task *task, long number, unsigned long a, unsigned long b, unsigned long c,
               unsigned long d) {
    const unsigned long arguments[5] = {a, b, c, d, 0};
    return call(task, number, arguments, NULL);
}

// clone(2), for clone3(2) would need a structure in the process's memory.
long task_fork(struct task *task, unsigned long flags, unsigned long clear_at, pid_t *born) {
    const unsigned long arguments[5] = {flags, 0, 0, clear_at, 0};
    *born = 0;
    long pid = call(task, SYS_clone, arguments, born);
    if (pid >= 0 && *born == 0) return -ECHILD;
    return pid;
}

bool task_start(const struct task *task) {
    return ptrace(PTRACE_CONT, task->pid, 0L, 0L) == 0 || failed(task, "cannot be made to run");
}

bool task_set_off(struct task *task, unsigned long code, unsigned long argument, unsigned long stack) {
    struct user_regs_struct registers = task->registers;
    registers.rip = code;
    registers.rdi = argument;
    registers.rsp = stack;
    // Strings go upwards, and nothing is stepped through (System V ABI, 3.2.1).
    registers.eflags &= ~(0x400UL | 0x100UL);
    if (!set_registers(task, &registers)) return failed(task, "cannot be made to run");
    return task_start(task);
}

bool task_await(const struct task *task, bool (*born)(const struct task *parent, pid_t pid)) {
    int status;
    for (;;) {
        if (!wait_stop(task, &status)) return false;
        pid_t child = born ? birth(task, status) : 0;
        if (!child) break;
        if (!born(task, child) || !task_start(task)) return false;
    }
    if (status >> 16 == 0 && WSTOPSIG(status) == SIGTRAP) return true;
    // SIGSTOP, which nothing holds off: it is to come when the process is let go.
    if (status >> 16 == 0) kill(task->pid, WSTOPSIG(status));
    return refuse("process %d was stopped by a signal meanwhile", task->pid);
}

bool task_run(struct task *task, unsigned long code, unsigned long argument, unsigned long stack) {
    return task_set_off(task, code, argument, stack) && task_await(task, NULL);
}

// Below the red zone (System V ABI, 3.2.2).
unsigned long task_scratch(const struct task *task) { return (task->registers.rsp - 128 - SCRATCH) & -64UL; }

long task_call_with(struct task *task, long number, unsigned long before, void *bytes, size_t size,
                    bool pointer_last, unsigned long after) {
    unsigned long place = task_scratch(task);
    char own[SCRATCH];
    if (size > SCRATCH || !memory_read(task->pid, place, own, size)) return -EFAULT;
    if (!memory_write(task->pid, place, bytes, size)) return -EFAULT;
    long result = pointer_last ? task_call(task, number, before, place, after, 0)
                               : task_call(task, number, place, before, after, 0);
    bool got = memory_read(task->pid, place, bytes, size);
    if (!memory_write(task->pid, place, own, size) || !got) return -EFAULT;
    return result;
}

static void give_back(const struct task *task) {
    ptrace(PTRACE_SETREGS, task->pid, 0L, &task->registers);
    ptrace(SET_SIGMASK, task->pid, sizeof task->mask, &task->mask);
    send_home(task);
}

bool task_rest(const struct task *task) {
    give_back(task);
    // It stands at the signal of a step or a breakpoint, which it would get if we died. It is to stand as it was
    // stopped first: the kernel looks for that before it looks for signals (kernel/signal.c, get_signal).
    if (ptrace(PTRACE_INTERRUPT, task->pid, 0L, 0L) || ptrace(PTRACE_CONT, task->pid, 0L, 0L))
        return failed(task, "cannot be stopped");
    int status;
    if (!wait_stop(task, &status)) return false;
    return status >> 16 == PTRACE_EVENT_STOP || refuse("process %d was stopped by a signal meanwhile", task->pid);
}

void task_release(struct task *task) {
    if (!task->held) return;
    give_back(task);
    ptrace(PTRACE_DETACH, task->pid, 0L, 0L);
    task->held = false;
}

void task_bring(const struct task *task) {
    if (task->policy >= 0) hurry(task->pid, false);
    if (gathered && CPU_COUNT(&task->cpus)) sched_setaffinity(task->pid, sizeof one, &one);
}

void task_send(const struct task *task) { send_home(task); }

static bool set_options(const struct task *task, long options) {
    if (ptrace(PTRACE_SETOPTIONS, task->pid, 0L, options)) return failed(task, "PTRACE_SETOPTIONS");
    return true;
}

bool task_die_with_us(struct task *task) {
    return set_options(task, BIRTHS | SUSPEND_SECCOMP | PTRACE_O_EXITKILL);
}

bool task_leave(struct task *task) { return set_options(task, BIRTHS | SUSPEND_SECCOMP); }

void restart_call(struct user_regs_struct *registers) {
    // A copy does not inherit what the kernel knew of a call's time.
    if ((long)registers->orig_rax >= 0 && (long)registers->rax == CALL_ERESTART_RESTARTBLOCK)
        registers->rax = (unsigned long)CALL_ERESTARTNOHAND;
}

bool task_sequences(const struct task *task, struct sequences *known) {
    // PTRACE_GET_RSEQ_CONFIGURATION; not in every <sys/ptrace.h>.
    enum { GET_RSEQ = 0x420f };
    *known = (struct sequences){0};
    return ptrace((enum __ptrace_request)GET_RSEQ, task->pid, sizeof *known, known) >= 0 ||
           refuse("process %d: its restartable sequences cannot be asked for", task->pid);
}

bool task_is_in_sequence(const struct task *task) {
    enum { SEQUENCE_AT = 8 };  // rseq_cs of struct rseq
    struct sequences known;
    uint64_t sequence = 0;
    if ((long)task->registers.orig_rax >= 0) return false;
    if (!task_sequences(task, &known) || !known.pointer) return false;
    return !memory_read(task->pid, known.pointer + SEQUENCE_AT, &sequence, sizeof sequence) || sequence;
}

bool memory_read(pid_t pid, unsigned long address, void *to, size_t size) {
    struct iovec local = {to, size}, remote = {(void *)address, size};
    if (process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)size) return true;
    return refuse("process %d: its memory at %lx cannot be read", pid, address);
}

bool memory_write(pid_t pid, unsigned long address, const void *from, size_t size) {
    struct iovec local = {(void *)from, size}, remote = {(void *)address, size};
    if (process_vm_writev(pid, &local, 1, &remote, 1, 0) == (ssize_t)size) return true;
    return refuse("process %d: its memory at %lx cannot be written", pid, address);
}
