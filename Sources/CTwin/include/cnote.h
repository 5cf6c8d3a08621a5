// What a process is made of beside its memory and its descriptors, noted while it stands still (x86-64).
#ifndef CNOTE_H
#define CNOTE_H

#include <stdint.h>

/// One of sigaction(2).
struct cnote_action {
    uint64_t handler, flags, restorer, mask;
};

/// What only the process itself can ask the kernel. It runs code of ours for that (told.c), in a mapping of its own
/// that is gone afterwards.
struct cnote_told {
    /// As rt_sigaction(2) tells it, for signals 1 to 64; SIGKILL's and SIGSTOP's are zero.
    struct cnote_action actions[64];
    /// Interval and time left, seconds and microseconds each: ITIMER_REAL, _VIRTUAL and _PROF (getitimer(2)).
    int64_t timers[3][4];
    /// sigaltstack(2).
    uint64_t stack_start;
    uint32_t stack_flags, stack_pad;
    uint64_t stack_size;
    /// Where the heap ends (brk(2)).
    uint64_t brk;
    /// prctl(2): PR_GET_TID_ADDRESS, PR_GET_PDEATHSIG, PR_GET_CHILD_SUBREAPER, PR_GET_DUMPABLE, PR_GET_THP_DISABLE,
    /// PR_GET_SECUREBITS.
    uint64_t clear_at;
    int32_t death_signal, is_subreaper, dumpable, has_no_huge_pages, securebits;
    /// membarrier(2), MEMBARRIER_CMD_GET_REGISTRATIONS; 0 where the kernel does not know it.
    int32_t barriers;
    /// 1 when all of it was told.
    uint32_t is_whole, pad;
};

/// One process, which has one thread.
struct cnote {
    /// The host's pid, and the one in its own namespace.
    int32_t pid, inner;
    /// How it is scheduled (sched_setscheduler(2), getpriority(2)).
    int32_t policy, priority, nice, none;
    /// In the order of <sys/user.h>.
    uint64_t registers[27];
    uint64_t mask;
    /// rseq(2); 0 where it is not registered.
    uint64_t sequence_pointer;
    uint32_t sequence_size, sequence_signature;
    /// set_robust_list(2).
    uint64_t robust_list, robust_size;
    /// Flags, number of instructions and the instructions of each seccomp filter, oldest first, begin at this byte of
    /// all notes.
    uint64_t filters;
    uint32_t filter_count, pad;
    /// Soft and hard, of each resource in the order of the RLIMIT_ numbers (prlimit(2)).
    uint64_t limits[16][2];
    struct cnote_told told;
    /// The XSAVE area: the legacy part as FXSAVE has it, XSTATE_BV, and the components, zero where the processor has
    /// not got them.
    uint8_t legacy[512] __attribute__((aligned(16)));
    uint64_t components;
    uint8_t upper_halves[256];   // of ymm0 to ymm15
    uint8_t opmasks[64];         // k0 to k7
    uint8_t upper_zmm[512];      // of zmm0 to zmm15
    uint8_t high_zmm[1024];      // zmm16 to zmm31
    uint8_t protection_keys[8];  // PKRU
    /// Of a twin: so many struct cnote_file begin at this byte of all notes, the first, number -1, of the working directory,
    /// and of the original's working directory and
    /// root st_mode of stat(2).
    uint64_t files;
    uint32_t file_count, directory_mode, root_mode, pad_too;
};

/// An open file as it was when a twin was made; its path, of so many bytes, follows, and then nothing up to a multiple of
/// eight.
struct cnote_file {
    int32_t number;
    /// Of the open file (fcntl(2), F_GETFL), O_CLOEXEC of the descriptor included; only of what has a name, and of pipes.
    uint32_t flags;
    int64_t offset;
    /// Of stat(2).
    uint32_t mode, links;
    int64_t size, changed, changed_nanoseconds;
    /// Whether it is PID 1's connection to the server, in whose place the twin has nothing.
    uint32_t is_line;
    uint32_t path_size;
};

#endif
