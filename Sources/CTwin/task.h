// One process that the holder has stopped (x86-64).
#ifndef CTWIN_TASK_H
#define CTWIN_TASK_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

struct task {
    pid_t pid;  // the host's
    struct user_regs_struct registers;  // as it was stopped
    uint64_t mask;                      // its signal mask, as it was stopped
    unsigned long instruction;          // a `syscall` in its memory
    cpu_set_t cpus;                     // where it may run
    int policy;                         // how it is scheduled; -1 where that stays
    char slack[24];                     // its timer slack, as text (proc_pid_timerslack_ns(5)), of `slack_size` bytes
    size_t slack_size;                  // 0 where it is not known
    bool held;
};

/// Why something was refused or went wrong; the last one counts. Returns false.
bool refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern _Thread_local char why[400];
/// Whether that may be otherwise in a moment.
extern _Thread_local bool is_passing;
/// Notes that it may be, and returns what is `refused`.
bool for_now(bool refused);

/// Stays on one processor, and takes the tasks that are held from now on there too: each call passes from us
/// to the task and back, which costs ten times as much between two. All run before anything else there, for
/// the sandbox stands still meanwhile: on a busy machine each of some thirty turns would wait for
/// milliseconds.
///
/// `asker` is a processor that is left to who waits for us; -1 for none.
void tasks_gather(int asker);
/// Has a process that is about to end do that at once.
void hurry_to_end(pid_t pid);
void tasks_part(void);
/// Lets the calling thread run on all processors that the holder had before.
void tasks_roam(void);

/// Whether more than `PATIENCE` seconds passed since tasks_gather.
enum { PATIENCE = 10 };
bool out_of_time(void);
/// Counts them anew: it was somebody else who took his time.
void begin_time(void);

/// Has one that is held run when it is its turn, as whom it makes: who is born of one that runs first of all has no
/// timer slack for good.
void task_wait_turn(struct task *task);

/// Stops a process outside of any system call of its own.
bool task_hold(struct task *task, pid_t pid);
/// Takes up a process that was born traced.
bool task_adopt(struct task *task, pid_t pid, const struct task *parent);
/// Has it make a system call; the kernel's answer, a negative errno where it failed.
long task_call(struct task *task, long number, unsigned long a, unsigned long b, unsigned long c,
               unsigned long d);
/// The same for one that makes a process, which stands still; its host pid goes to `born`.
long task_fork(struct task *task, unsigned long flags, unsigned long clear_at, pid_t *born);
/// Has it run code at `code` with one argument until a breakpoint (int3); false with `why` set.
bool task_run(struct task *task, unsigned long code, unsigned long argument, unsigned long stack);
/// The same without waiting for that.
bool task_set_off(struct task *task, unsigned long code, unsigned long argument, unsigned long stack);
/// Has one that was just born go on where it stands, without waiting for it.
bool task_start(const struct task *task);
/// Waits for the breakpoint; those that it makes meanwhile stand still at their first instruction and are handed to `born`.
bool task_await(const struct task *task, bool (*born)(const struct task *parent, pid_t pid));
/// Whom it makes is traced too, and all of them die with us.
bool task_die_with_us(struct task *task);
/// Gives it back what it was stopped with, so that it goes on so even when its tracer dies.
bool task_rest(const struct task *task);
/// Lets it go on as it was stopped.
void task_release(struct task *task);
/// Brings one that is kept to our processor for some calls, and sends it away again.
void task_bring(const struct task *task);
void task_send(const struct task *task);
/// Whom it is made to make is traced too; it does not die with us any more.
bool task_leave(struct task *task);

/// The same registers for a copy: a call that was broken off is begun again, unless a signal's handler is to run first.
void restart_call(struct user_regs_struct *registers);

/// What the kernel knows of a process's restartable sequences (<linux/ptrace.h>, struct ptrace_rseq_configuration): where
/// its struct rseq lies, 0 for nowhere.
struct sequences {
    uint64_t pointer;
    uint32_t size, signature, flags, pad;
};
/// Asks for them; false with `why` set.
bool task_sequences(const struct task *task, struct sequences *known);

/// Whether it was stopped outside of any system call with a restartable sequence begun (rseq(2)), which the
/// kernel takes for broken off by whatever it is made to call.
bool task_is_in_sequence(const struct task *task);

/// Memory of a process; false with `why` set.
bool memory_read(pid_t pid, unsigned long address, void *to, size_t size);
bool memory_write(pid_t pid, unsigned long address, const void *from, size_t size);

/// A call with one argument that points to `size` bytes, at most SCRATCH, which come from and go back to
/// `bytes`. What lies there in the process's memory is put back.
enum { SCRATCH = 512 };
/// Where in its memory SCRATCH bytes lie that it does not need meanwhile, if they are put back.
unsigned long task_scratch(const struct task *task);
long task_call_with(struct task *task, long number, unsigned long before, void *bytes, size_t size,
                    bool pointer_last,
                    unsigned long after);

#endif
