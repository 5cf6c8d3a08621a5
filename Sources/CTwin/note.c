#include "note.h"

#include <cpuid.h>
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
#include <unistd.h>

#include "look.h"
#include "sets.h"
#include "task.h"
#include "told.h"

enum { MOST_NOTED = 256, LARGEST = 64 << 20 };

char *notes;
size_t notes_size, notes_count;
static size_t notes_room;
static struct task held[MOST_NOTED];
static size_t held_count;

void notes_release(void) {
    for (size_t i = 0; i < held_count; i++) task_release(&held[i]);
    held_count = 0;
}

/// Room for so many bytes more; where they begin, or -1.
static long make_room(size_t size) {
    size_t start = notes_size;
    if (start + size > LARGEST) return -1;
    if (start + size > notes_room) {
        size_t room = 2 * (start + size) + 65536;
        char *larger = realloc(notes, room);
        if (!larger) return -1;
        notes = larger;
        notes_room = room;
    }
    notes_size += size;
    return (long)start;
}

/// Stops PID 1, its children, and theirs: who stands still makes no more of them.
static bool hold_tree(pid_t init) {
    if (!task_hold(&held[0], init)) return false;
    held_count = 1;
    for (size_t parent = 0; parent < held_count; parent++) {
        pid_t children[MOST_NOTED];
        size_t count = proc_children(held[parent].pid, children, MOST_NOTED);
        if (held_count + count > MOST_NOTED) return refuse("it has more than %d processes", MOST_NOTED);
        for (size_t i = 0; i < count; i++) {
            if (!task_hold(&held[held_count], children[i])) return false;
            held_count++;
        }
    }
    // An orphan becomes the child of one whose children were counted before.
    size_t children = 1;
    for (size_t i = 0; i < held_count; i++) children += proc_children(held[i].pid, NULL, 0);
    return children == held_count || refuse("a process was starting");
}

/// Where the components of the XSAVE area lie (CPUID, leaf 13); 0 where the processor has not got them.
static struct layout {
    bool is_known;
    uint32_t upper_halves, opmasks, upper_zmm, high_zmm, protection_keys;
} layout;

static uint32_t place_of(unsigned component, uint32_t size) {
    uint32_t its_size, offset, c, d;
    if (!__get_cpuid_count(13, component, &its_size, &offset, &c, &d) || its_size != size) return 0;
    return offset;
}

// It costs a virtual machine's exit each, so it is asked once.
static void learn_layout(void) {
    if (layout.is_known) return;
    layout.upper_halves = place_of(2, sizeof((struct cnote *)0)->upper_halves);
    layout.opmasks = place_of(5, sizeof((struct cnote *)0)->opmasks);
    layout.upper_zmm = place_of(6, sizeof((struct cnote *)0)->upper_zmm);
    layout.high_zmm = place_of(7, sizeof((struct cnote *)0)->high_zmm);
    layout.protection_keys = place_of(9, sizeof((struct cnote *)0)->protection_keys);
    layout.is_known = true;
}

static void take_component(void *to, size_t size, const unsigned char *area, size_t length, uint32_t offset) {
    if (offset && offset + size <= length) memcpy(to, area + offset, size);
}

/// The registers of the floating point unit and of vectors.
static bool note_vectors(struct cnote *note, pid_t pid) {
    enum { HEADER = 512, BOTH = 3, LEGACY = 512 };
    static unsigned char area[16384] __attribute__((aligned(64)));
    struct iovec place = {area, sizeof area};
    if (ptrace(PTRACE_GETREGSET, pid, (long)NT_X86_XSTATE, &place)) return refuse("process %d: its vectors", pid);
    if (place.iov_len < HEADER + 8) return refuse("process %d: its vectors are cut short", pid);
    memcpy(&note->components, area + HEADER, sizeof note->components);
    memcpy(note->legacy, area, LEGACY);
    // What is in its initial state the first need not hold (Intel SDM 1, 13.6).
    if ((note->components & BOTH) != BOTH && ptrace(PTRACE_GETFPREGS, pid, 0L, note->legacy))
        return refuse("process %d: its floating point registers", pid);
    size_t length = place.iov_len;
    take_component(note->upper_halves, sizeof note->upper_halves, area, length, layout.upper_halves);
    take_component(note->opmasks, sizeof note->opmasks, area, length, layout.opmasks);
    take_component(note->upper_zmm, sizeof note->upper_zmm, area, length, layout.upper_zmm);
    take_component(note->high_zmm, sizeof note->high_zmm, area, length, layout.high_zmm);
    take_component(note->protection_keys, sizeof note->protection_keys, area, length, layout.protection_keys);
    return true;
}

static bool put_component(unsigned char *area, size_t length, uint32_t offset, const void *from, size_t size) {
    if (offset && offset + size <= length) {
        memcpy(area + offset, from, size);
        return true;
    }
    // The processor has not got it.
    for (size_t i = 0; i < size; i++)
        if (((const unsigned char *)from)[i]) return false;
    return true;
}

bool vectors_give(const struct cnote *note, pid_t pid) {
    enum { HEADER = 512, BOTH = 3, LEGACY = 512, FEATURES = 464, FEATURES_SIZE = 48 };
    static unsigned char area[16384] __attribute__((aligned(64)));
    struct iovec place = {area, sizeof area};
    learn_layout();
    if (ptrace(PTRACE_GETREGSET, pid, (long)NT_X86_XSTATE, &place) || place.iov_len < HEADER + 64)
        return refuse("process %d: its vectors", pid);
    unsigned char features[FEATURES_SIZE];
    // The kernel's own words lie in the part that the processor leaves to software.
    memcpy(features, area + FEATURES, sizeof features);
    memcpy(area, note->legacy, LEGACY);
    memcpy(area + FEATURES, features, sizeof features);
    const uint64_t components = note->components | BOTH;
    memcpy(area + HEADER, &components, sizeof components);
    size_t length = place.iov_len;
    if (!put_component(area, length, layout.upper_halves, note->upper_halves, sizeof note->upper_halves) ||
        !put_component(area, length, layout.opmasks, note->opmasks, sizeof note->opmasks) ||
        !put_component(area, length, layout.upper_zmm, note->upper_zmm, sizeof note->upper_zmm) ||
        !put_component(area, length, layout.high_zmm, note->high_zmm, sizeof note->high_zmm) ||
        !put_component(area, length, layout.protection_keys, note->protection_keys, sizeof note->protection_keys))
        return refuse("process %d has vectors that the processor has not got", pid);
    if (ptrace(PTRACE_SETREGSET, pid, (long)NT_X86_XSTATE, &place))
        return refuse("process %d cannot have its vectors: %s", pid, strerror(errno));
    return true;
}

// <linux/ptrace.h>; not in every <sys/ptrace.h>.
#define GET_FILTER ((enum __ptrace_request)0x420c)
#define GET_METADATA ((enum __ptrace_request)0x420d)

static bool note_filters(size_t at, pid_t pid) {
    struct {
        uint64_t number, flags;
    } known;
    ((struct cnote *)(notes + at))->filters = notes_size;
    for (uint32_t number = 0;; number++) {
        long length = ptrace(GET_FILTER, pid, (long)number, NULL);
        if (length < 0 && errno == ENOENT) return true;
        if (length < 0 && errno == EINVAL && number == 0) return true;  // it is under none
        if (length <= 0) return refuse("process %d: its seccomp filters cannot be read: %s", pid, strerror(errno));
        known.number = number;
        if (ptrace(GET_METADATA, pid, (long)sizeof known, &known) != sizeof known)
            return refuse("process %d: its seccomp filters cannot be read: %s", pid, strerror(errno));
        long start = make_room(8 + (size_t)length * 8);
        if (start < 0) return refuse("out of memory");
        const uint32_t head[2] = {(uint32_t)known.flags, (uint32_t)length};
        memcpy(notes + start, head, sizeof head);
        if (ptrace(GET_FILTER, pid, (long)number, notes + start + 8) != length)
            return refuse("process %d: its seccomp filters cannot be read: %s", pid, strerror(errno));
        ((struct cnote *)(notes + at))->filter_count = number + 1;
    }
}

static bool note_sequence(struct cnote *note, const struct task *task) {
    enum { SEQUENCE_AT = 8 };  // rseq_cs of struct rseq
    struct sequences known;
    if (!task_sequences(task, &known)) return false;
    uint64_t sequence = 0;
    if (known.pointer && !memory_read(task->pid, known.pointer + SEQUENCE_AT, &sequence, sizeof sequence)) return false;
    // The kernel would take what it is made to run for the sequence broken off.
    if (sequence) return refuse_of(task->pid, "is in a restartable sequence");
    note->sequence_pointer = known.pointer;
    note->sequence_size = known.size;
    note->sequence_signature = known.signature;
    return true;
}

/// Has it run the code that asks what only it can ask.
static bool note_told(struct cnote *note, struct task *task) {
    enum { DATA = 8192, STACK = 16384, SIZE = 16384, FLAGS = MAP_PRIVATE | MAP_ANONYMOUS };
    struct told_code code = told_code();
    if (code.size > DATA || sizeof note->told > 4096) return refuse("its code is too long");
    long place = task_call(task, SYS_mmap, 0, SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, FLAGS);
    if (place < 0 && place > -4096) return refuse_of(task->pid, "may not have memory that is to be run: %s", strerror((int)-place));
    unsigned long start = (unsigned long)place;
    // As after a call (System V ABI, 3.2.2).
    bool good = memory_write(task->pid, start, code.bytes, code.size) &&
                task_run(task, start + code.entry, start + DATA, start + STACK - 8) &&
                memory_read(task->pid, start + DATA, &note->told, sizeof note->told);
    if (task_call(task, SYS_munmap, start, SIZE, 0, 0) != 0) return refuse("process %d: munmap failed", task->pid);
    return good && (note->told.is_whole || refuse("process %d does not tell its attributes", task->pid));
}

/// rt_sigtimedwait(2) ends with EINTR when its caller is stopped, which programs without handlers never meet.
static void begin_again(struct user_regs_struct *registers) {
    if (registers->orig_rax != SYS_rt_sigtimedwait || (long)registers->rax != -EINTR) return;
    registers->rax = registers->orig_rax;
    registers->rip -= 2;
}

static bool note_task(size_t at, struct task *task) {
    enum { SELECTOR = 0x33 };  // of 64-bit programs (arch/x86/include/asm/segment.h)
    struct cnote *note = (struct cnote *)(notes + at);
    note->pid = task->pid;
    if (!is_quiet(task->pid, &note->inner)) return false;
    if (task->registers.cs != SELECTOR) return refuse_of(task->pid, "runs a 32-bit program");
    begin_again(&task->registers);
    _Static_assert(sizeof note->registers == sizeof task->registers, "27 registers");
    memcpy(note->registers, &task->registers, sizeof note->registers);
    note->mask = task->mask;
    void *list = NULL;
    size_t size = 0;
    if (syscall(SYS_get_robust_list, task->pid, &list, &size))
        return refuse("process %d: its robust futexes cannot be read", task->pid);
    note->robust_list = (uint64_t)(uintptr_t)list;
    note->robust_size = size;
    for (int resource = 0; resource < 16; resource++)
        if (syscall(SYS_prlimit64, task->pid, resource, NULL, note->limits[resource]))
            return refuse("process %d: its limits cannot be read", task->pid);
    struct sched_param scheduling = {0};
    note->policy = task->policy >= 0 ? task->policy : sched_getscheduler(task->pid);
    if (task->policy < 0) sched_getparam(task->pid, &scheduling);
    note->priority = scheduling.sched_priority;
    note->nice = getpriority(PRIO_PROCESS, (id_t)task->pid);
    // A timer that went off before it was read has left a signal.
    return note_vectors(note, task->pid) && note_sequence(note, task) && note_told(note, task) &&
           is_quiet(task->pid, &note->inner);
}

static bool note_all(void) {
    learn_layout();
    long start = make_room(held_count * sizeof(struct cnote));
    if (start < 0) return refuse("out of memory");
    memset(notes, 0, notes_size);
    for (size_t i = 0; i < held_count; i++)
        if (!note_task(i * sizeof(struct cnote), &held[i])) return false;
    for (size_t i = 0; i < held_count; i++)
        if (!note_filters(i * sizeof(struct cnote), held[i].pid)) return false;
    notes_count = held_count;
    for (size_t i = 0; i < held_count; i++)
        if (!task_rest(&held[i])) return false;
    return true;
}

bool notes_hold(pid_t init) {
    notes_release();
    notes_size = notes_count = 0;
    if (hold_tree(init)) return true;
    notes_release();
    return false;
}

size_t notes_pids(int32_t *pids, size_t limit) {
    size_t count = held_count < limit ? held_count : limit;
    for (size_t i = 0; i < count; i++) pids[i] = held[i].pid;
    return count;
}

bool notes_take(void) {
    if (note_all()) return true;
    notes_release();
    return false;
}

static bool note_file(const struct open_file *file) {
    const size_t length = file->path ? strlen(file->path) : 0;
    long start = make_room((sizeof(struct cnote_file) + length + 7) / 8 * 8);
    if (start < 0) return refuse("out of memory");
    struct cnote_file *told = (struct cnote_file *)(notes + start);
    *told = (struct cnote_file){
        .number = file->number,
        .flags = file->flags,
        .offset = file->offset,
        .mode = file->status.st_mode,
        .links = (uint32_t)file->status.st_nlink,
        .size = file->status.st_size,
        .changed = file->status.st_ctim.tv_sec,
        .changed_nanoseconds = file->status.st_ctim.tv_nsec,
        .is_line = file->is_line,
        .path_size = (uint32_t)length,
    };
    if (length) memcpy(told + 1, file->path, length);
    return true;
}

static bool note_files(size_t at, const struct files *files) {
    ((struct cnote *)(notes + at))->files = notes_size;
    const struct open_file directory = {.number = -1, .path = files->directory};
    if (!note_file(&directory)) return false;
    for (size_t i = 0; i < files->count; i++)
        if (!note_file(&files->list[i])) return false;
    struct cnote *note = (struct cnote *)(notes + at);
    note->file_count = (uint32_t)files->count + 1;
    note->directory_mode = files->directory_mode;
    note->root_mode = files->root_mode;
    return true;
}

static bool note_twin(size_t at, const struct twin *twin, bool is_init) {
    // What the copy is made to do leaves no trace in what it is to go on with.
    struct task task = twin->kept;
    task_bring(&task);
    bool good = note_task(at, &task);
    task_send(&task);
    if (!good) return false;
    struct cnote *note = (struct cnote *)(notes + at);
    note->inner = is_init ? 1 : twin->inner;
    // What a fork does not inherit; of PID 1 it is what the snapshot before says.
    _Static_assert(sizeof note->told.timers == sizeof twin->timers, "three timers");
    memcpy(note->told.timers, twin->timers, sizeof twin->timers);
    note->told.clear_at = twin->clear_at;
    note->told.death_signal = twin->death_signal;
    note->robust_list = twin->robust_list;
    note->robust_size = twin->robust_size;
    return true;
}

bool notes_take_set(struct set *set) {
    learn_layout();
    notes_size = notes_count = 0;
    const size_t count = set->count + 1;
    if (make_room(count * sizeof(struct cnote)) < 0) return refuse("out of memory");
    memset(notes, 0, notes_size);
    for (size_t i = 0; i < count; i++)
        if (!note_twin(i * sizeof(struct cnote), i ? &set->list[i - 1] : &set->init, i == 0)) return false;
    for (size_t i = 0; i < count; i++) {
        const struct twin *twin = i ? &set->list[i - 1] : &set->init;
        if (!note_filters(i * sizeof(struct cnote), twin->kept.pid)) return false;
        if (!note_files(i * sizeof(struct cnote), &twin->files)) return false;
    }
    notes_count = count;
    return true;
}
