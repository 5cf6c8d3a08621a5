#include "rebuild.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ccalls.h"
#include "look.h"
#include "note.h"
#include "task.h"
#include "told.h"

enum { MOST = 256, FEW = 3, PAGE = 4096, STACK = 8192, LARGEST = 64 << 20 };

static struct crebuild_plan plan;
static struct cnote *made_of;
static struct task made[MOST];
static size_t made_count;
/// Of each process, the number of its note.
static size_t note_of[MOST];

static void end(pid_t pid) {
    int status;
    kill(pid, SIGKILL);
    // One that runs may have come to a stop meanwhile.
    for (pid_t ended = 0; ended != pid || WIFSTOPPED(status);) {
        ended = waitpid(pid, &status, __WALL);
        if (ended < 0 && errno != EINTR) return;
    }
}

void rebuild_drop(void) {
    // PID 1 last: it waits for the others, of whom their tracer has to hear first. Those that were born and not taken up
    // yet are its children once the others have ended.
    for (size_t i = made_count; i-- > 1;)
        if (made[i].held) end(made[i].pid);
    if (made_count && made[0].held) {
        static pid_t left[MOST];
        size_t count = proc_children(made[0].pid, left, MOST);
        for (size_t i = 0; i < count && i < MOST; i++) end(left[i]);
        end(made[0].pid);
    }
    made_count = 0;
}

void rebuild_release(void) {
    for (size_t i = 0; i < made_count; i++) task_release(&made[i]);
    made_count = 0;
}

size_t rebuild_pids(int32_t *pids, size_t limit) {
    for (size_t i = 0; i < made_count; i++)
        if (note_of[i] < limit) pids[note_of[i]] = made[i].pid;
    return made_count < limit ? made_count : limit;
}

static bool take_plan(pid_t asker, uint64_t at) {
    free(made_of);
    made_of = NULL;
    if (!memory_read(asker, at, &plan, sizeof plan)) return false;
    if (plan.count == 0 || plan.count > MOST || plan.script_size > LARGEST) return refuse("the plan is too large");
    made_of = calloc(plan.count, sizeof *made_of);
    if (!made_of) return refuse("out of memory");
    return memory_read(asker, plan.notes, made_of, plan.count * sizeof *made_of);
}

/// Takes up a process that was just born, in the order of the births, and has it follow its script: beside its parent and
/// the others, of whom none waits for another.
static bool take_up(const struct task *parent, pid_t pid) {
    if (made_count == MOST) return refuse("it has more than %d processes", MOST);
    struct task *task = &made[made_count];
    if (!task_adopt(task, pid, parent)) return false;
    made_count++;
    pid_t inner = proc_inner(pid);
    for (size_t i = 0; i < plan.count; i++)
        if (made_of[i].inner == inner) {
            note_of[made_count - 1] = i;
            return task_start(task);
        }
    return refuse("process %d is none of the snapshot's", inner);
}

static unsigned long state_at(void) { return plan.place + PAGE; }

/// Has one follow its script from where it stopped.
static bool set_off(struct task *task) {
    return task_set_off(task, plan.place + script_code().entry, state_at(), plan.place + plan.room - 8);
}

/// Waits until one that follows its script comes to the next stop.
static bool await_stop(struct task *task) {
    struct crebuild_state state;
    if (!task_await(task, take_up)) return false;
    if (!memory_read(task->pid, state_at(), &state, sizeof state)) return false;
    if (state.failure == 0) return true;
    struct crebuild_step step = {0};
    memory_read(task->pid, state.next, &step, sizeof step);
    return refuse_of(task->pid, "cannot be made: step %lu (%u, call %u): %s",
                     (unsigned long)(state.next - state_at()) / sizeof step, step.kind, step.number,
                     strerror((int)-state.failure));
}

/// Maps the place where the script is to lie, and puts it there.
static bool place_script(struct task *task, pid_t asker) {
    const struct told_code code = script_code();
    if (code.size > PAGE || plan.room < PAGE + plan.script_size + STACK) return refuse("the plan does not fit");
    enum { RIGHTS = PROT_READ | PROT_WRITE | PROT_EXEC };
    const unsigned long flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    long place = task_call(task, SYS_mmap, plan.place, plan.room, RIGHTS, flags);
    if (place != (long)plan.place) return refuse("the place of the plan is taken");
    char *script = malloc(plan.script_size);
    bool good = script && memory_read(asker, plan.script, script, plan.script_size) &&
                memory_write(task->pid, plan.place, code.bytes, code.size) &&
                memory_write(task->pid, plan.place + PAGE, script, plan.script_size);
    free(script);
    return good;
}

/// Takes its restartable sequences away: the kernel would write to where they were.
static bool end_sequences(struct task *task) {
    enum { UNREGISTER = 1, RSEQ = 334 };
    struct sequences known;
    if (!task_sequences(task, &known)) return false;
    if (!known.pointer) return true;
    return task_call(task, RSEQ, known.pointer, known.size, UNREGISTER, known.signature) == 0 ||
           refuse("restartable sequences cannot be ended");
}

static bool begin(pid_t init, pid_t asker, uint64_t at) {
    if (!take_plan(asker, at)) return false;
    if (!task_hold(&made[0], init)) return false;
    made_count = 1;
    note_of[0] = 0;
    task_wait_turn(&made[0]);
    if (!task_die_with_us(&made[0]) || !end_sequences(&made[0]) || !place_script(&made[0], asker)) return false;
    // Few are done soonest where they are; many want all processors.
    if (plan.count > FEW) task_send(&made[0]);
    if (!set_off(&made[0])) return false;
    for (size_t i = 0; i < made_count; i++)
        if (!await_stop(&made[i])) return false;
    return made_count == plan.count || refuse("%zu processes were made of %zu", made_count, (size_t)plan.count);
}

bool rebuild_begin(pid_t init, pid_t asker, uint64_t at) {
    rebuild_drop();
    if (begin(init, asker, at)) return true;
    rebuild_drop();
    return false;
}

static bool give_limits(const struct task *task, const struct cnote *note) {
    for (int resource = 0; resource < 16; resource++) {
        uint64_t now[2];
        if (syscall(SYS_prlimit64, task->pid, resource, NULL, now)) return refuse("its limits cannot be read");
        if (!memcmp(now, note->limits[resource], sizeof now)) continue;
        if (syscall(SYS_prlimit64, task->pid, resource, note->limits[resource], NULL))
            return refuse_of(task->pid, "cannot have its limits: %s", strerror(errno));
    }
    if (getpriority(PRIO_PROCESS, (id_t)task->pid) != note->nice &&
        setpriority(PRIO_PROCESS, (id_t)task->pid, note->nice))
        return refuse_of(task->pid, "cannot have its nice value: %s", strerror(errno));
    return true;
}

/// Of a process that is to begin a call: it is broken off in it, so that the kernel says whether it begins again. A timer
/// may have gone off already.
static void break_off(struct user_regs_struct *registers) {
    int restart = call_restart(registers->rax);
    // The instruction leaves in rcx where it ends.
    if (restart && registers->rax == registers->orig_rax && registers->rcx == registers->rip + 2) {
        registers->rax = (unsigned long)(long)restart;
        registers->rip += 2;
    } else {
        registers->orig_rax = -1UL;
    }
}

static bool finish(struct task *task, const struct cnote *note) {
    if (!await_stop(task) || !give_limits(task, note)) return false;
    memcpy(&task->registers, note->registers, sizeof task->registers);
    break_off(&task->registers);
    task->mask = note->mask;
    task->instruction = find_system_call(task);
    if (!task->instruction) return refuse_of(task->pid, "has no system call instruction");
    if (task_call(task, SYS_munmap, plan.place, plan.room, 0, 0) != 0) return refuse("munmap failed");
    return vectors_give(note, task->pid);
}

static bool finish_all(void) {
    for (size_t i = 0; i < made_count; i++)
        if (!set_off(&made[i])) return false;
    for (size_t i = 0; i < made_count; i++)
        if (!finish(&made[i], &made_of[note_of[i]]) || !task_rest(&made[i])) return false;
    return made_count > 0 || refuse("there is nothing to end");
}

bool rebuild_end(void) {
    if (finish_all()) return true;
    rebuild_drop();
    return false;
}
