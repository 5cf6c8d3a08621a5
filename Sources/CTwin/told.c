#include "told.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

// What is here runs in another process: it is copied there byte by byte, so it may neither call nor refer to anything
// outside this section.
// Nor may it use a vector register: those are noted, and not put back.
#define PLAIN target("general-regs-only")
#define THERE __attribute__((section("ckpt_told"), used, noinline, PLAIN))
#define WITHIN static inline __attribute__((always_inline, PLAIN))

WITHIN long ask(long number, long a, long b, long c, long d) {
    long result;
    register long fourth __asm__("r10") = d;
    register long fifth __asm__("r8") = 0;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth)
                     : "rcx", "r11", "memory");
    return result;
}

enum { GET_REGISTRATIONS = 1 << 9 };  // <linux/membarrier.h> of Linux 6.3

THERE static void tell(struct cnote_told *told) {
    bool is_whole = true;
    for (int signal = 1; signal <= 64; signal++) {
        if (signal == 9 || signal == 19) continue;
        is_whole &= ask(SYS_rt_sigaction, signal, 0, (long)&told->actions[signal - 1], 8) == 0;
    }
    for (int which = 0; which < 3; which++)
        is_whole &= ask(SYS_getitimer, which, (long)told->timers[which], 0, 0) == 0;
    is_whole &= ask(SYS_sigaltstack, 0, (long)&told->stack_start, 0, 0) == 0;
    told->brk = (uint64_t)ask(SYS_brk, 0, 0, 0, 0);
    is_whole &= ask(SYS_prctl, PR_GET_TID_ADDRESS, (long)&told->clear_at, 0, 0) == 0;
    is_whole &= ask(SYS_prctl, PR_GET_PDEATHSIG, (long)&told->death_signal, 0, 0) == 0;
    is_whole &= ask(SYS_prctl, PR_GET_CHILD_SUBREAPER, (long)&told->is_subreaper, 0, 0) == 0;
    told->dumpable = (int32_t)ask(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0);
    told->has_no_huge_pages = (int32_t)ask(SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0);
    told->securebits = (int32_t)ask(SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0);
    long barriers = ask(SYS_membarrier, GET_REGISTRATIONS, 0, 0, 0);
    told->barriers = barriers < 0 ? 0 : (int32_t)barriers;
    told->is_whole = is_whole && told->dumpable >= 0 && told->has_no_huge_pages >= 0 && told->securebits >= 0;
    __asm__ volatile("int3");
}

// The linker's, for a section of that name.
extern const unsigned char __start_ckpt_told[], __stop_ckpt_told[];

struct told_code told_code(void) {
    const unsigned char *entry = (const unsigned char *)(uintptr_t)tell;
    return (struct told_code){
        .bytes = __start_ckpt_told,
        .size = (size_t)(__stop_ckpt_told - __start_ckpt_told),
        .entry = (size_t)(entry - __start_ckpt_told),
    };
}
