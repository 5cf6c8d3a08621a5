#define _GNU_SOURCE
#include "borrowed.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

struct clinux_borrowed {
    pid_t pid;
    struct user_regs_struct registers;
    // The `syscall` instruction that it was stopped in.
    unsigned long instruction;
    // Where it and we may run.
    cpu_set_t its_cpus, our_cpus;
};

// Each call passes from us to the process and back. On one processor that takes a tenth of the time.
static void share_processor(struct clinux_borrowed *process) {
    int here = sched_getcpu();
    cpu_set_t one;
    CPU_ZERO(&one);
    if (here < 0 || sched_getaffinity(process->pid, sizeof one, &process->its_cpus) ||
        sched_getaffinity(0, sizeof one, &process->our_cpus)) {
        CPU_ZERO(&process->its_cpus);
        return;
    }
    CPU_SET(here, &one);
    sched_setaffinity(0, sizeof one, &one);
    sched_setaffinity(process->pid, sizeof one, &one);
}

static void part_processors(const struct clinux_borrowed *process) {
    if (CPU_COUNT(&process->its_cpus) == 0) return;
    sched_setaffinity(process->pid, sizeof process->its_cpus, &process->its_cpus);
    sched_setaffinity(0, sizeof process->our_cpus, &process->our_cpus);
}

// Of a process that is held half-way an error is believed when it has come three times: giving up would cost what the
// sandbox's processes were waiting for, and a process that is not let go never ends.
static long ask(int request, pid_t pid, void *data) {
    long result = -1;
    for (int left = 3; left > 0 && result < 0; left--) result = ptrace(request, pid, 0, data);
    return result;
}

static int peek(pid_t pid, unsigned long address, long *text) {
    int code = EIO;
    for (int left = 3; left > 0 && code != 0; left--) {
        errno = 0;
        *text = ptrace(PTRACE_PEEKTEXT, pid, address, 0L);
        code = errno;
    }
    return code;
}

// Waits until the process stands still by itself or at our word; a signal that comes first is handed on.
static int wait_stopped(pid_t pid, int request) {
    for (;;) {
        int status;
        if (waitpid(pid, &status, __WALL) < 0) {
            if (errno == EINTR) continue;
            return errno;
        }
        if (!WIFSTOPPED(status)) return ESRCH;
        if (WSTOPSIG(status) == SIGTRAP || status >> 16 == PTRACE_EVENT_STOP) return 0;
        if (ask(request, pid, (void *)(long)WSTOPSIG(status))) return errno;
    }
}

struct clinux_borrowed *clinux_borrow(pid_t pid, int *code) {
    struct clinux_borrowed *process = calloc(1, sizeof *process);
    if (!process) {
        *code = ENOMEM;
        return NULL;
    }
    process->pid = pid;
    share_processor(process);
    if (ask(PTRACE_SEIZE, pid, NULL)) {
        *code = errno;
        part_processors(process);
        free(process);
        return NULL;
    }
    *code = ask(PTRACE_INTERRUPT, pid, NULL) ? errno : wait_stopped(pid, PTRACE_CONT);
    if (*code == 0 && ask(PTRACE_GETREGS, pid, &process->registers)) *code = errno;
    if (*code == 0) {
        process->instruction = process->registers.rip - 2;
        long text = 0;
        *code = peek(pid, process->instruction, &text);
        if (*code == 0 && (text & 0xffff) != 0x050f) *code = EBUSY;  // not in a system call
    }
    if (*code == 0) return process;
    part_processors(process);
    ask(PTRACE_DETACH, pid, NULL);
    free(process);
    return NULL;
}

long clinux_borrowed_call(struct clinux_borrowed *process, long number, const unsigned long arguments[6]) {
    struct user_regs_struct registers = process->registers;
    registers.rip = process->instruction;
    registers.rax = (unsigned long)number;
    // Else the kernel would take the interrupted call for this one and start it again.
    registers.orig_rax = -1UL;
    registers.rdi = arguments[0];
    registers.rsi = arguments[1];
    registers.rdx = arguments[2];
    registers.r10 = arguments[3];
    registers.r8 = arguments[4];
    registers.r9 = arguments[5];
    registers.rsp = (clinux_borrowed_memory(process) - 256) & -16UL;
    if (ask(PTRACE_SETREGS, process->pid, &registers)) return -errno;
    if (ask(PTRACE_SINGLESTEP, process->pid, NULL)) return -errno;
    int code = wait_stopped(process->pid, PTRACE_SINGLESTEP);
    if (code) return -code;
    if (ask(PTRACE_GETREGS, process->pid, &registers)) return -errno;
    return (long)registers.rax;
}

// Below the red zone of its stack (System V ABI, 3.2.2).
unsigned long clinux_borrowed_memory(const struct clinux_borrowed *process) {
    return (process->registers.rsp - 128 - clinux_borrowed_size) & -16UL;
}

static int move_memory(pid_t pid, int writes, unsigned long address, void *ours, unsigned long size) {
    struct iovec local = {ours, size}, remote = {(void *)address, size};
    ssize_t moved = writes ? process_vm_writev(pid, &local, 1, &remote, 1, 0)
                           : process_vm_readv(pid, &local, 1, &remote, 1, 0);
    if (moved < 0) return errno;
    return (unsigned long)moved == size ? 0 : EFAULT;
}

int clinux_read_memory(pid_t pid, unsigned long address, void *to, unsigned long size) {
    return move_memory(pid, 0, address, to, size);
}

int clinux_write_memory(pid_t pid, unsigned long address, const void *from, unsigned long size) {
    return move_memory(pid, 1, address, (void *)from, size);
}

void clinux_give_back(struct clinux_borrowed *process) {
    ask(PTRACE_SETREGS, process->pid, &process->registers);
    part_processors(process);
    ask(PTRACE_DETACH, process->pid, NULL);
    free(process);
}
