#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "told.h"

// As in told.c: what is here is copied into other processes byte by byte. It runs on a stack of its own and may unmap
// everything but itself.
#define PLAIN target("general-regs-only")
#define THERE __attribute__((section("ckpt_script"), used, noinline, PLAIN))
#define WITHIN static inline __attribute__((always_inline, PLAIN))

WITHIN long perform(long number, const uint64_t *a) {
    long result;
    register uint64_t fourth __asm__("r10") = a[3];
    register uint64_t fifth __asm__("r8") = a[4];
    register uint64_t sixth __asm__("r9") = a[5];
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(fourth), "r"(fifth), "r"(sixth)
                     : "rcx", "r11", "memory");
    return result;
}

WITHIN void stand_still(void) { __asm__ volatile("int3" ::: "memory"); }

// Read anew each time: a table of jumps would lie outside of this section.
#define IS(step, what) (*(const volatile uint32_t *)&(step)->kind == (what))

THERE static void follow(struct crebuild_state *state) {
    const struct crebuild_step *step = (const struct crebuild_step *)(uintptr_t)state->next;
    for (;;) {
        uint64_t a[6];
        for (int i = 0; i < 6; i++) {
            a[i] = step->arguments[i];
            if (step->loads >> i & 1) a[i] = *(const uint32_t *)(uintptr_t)a[i];
        }
        long result = 0;
        if (IS(step, CREBUILD_CALL)) {
            result = perform(step->number, a);
        } else if (IS(step, CREBUILD_RANGE)) {
            if (a[1]) result = perform(step->number, a);
        } else if (IS(step, CREBUILD_BIRTH)) {
            result = perform(SYS_clone3, a);
            if (result == 0) {
                step = (const struct crebuild_step *)(uintptr_t)a[2];
                continue;
            }
            if (result > 0 && (uint64_t)result != a[3]) result = -EEXIST;
        } else if (IS(step, CREBUILD_EQUAL)) {
            if ((*(const uint64_t *)(uintptr_t)a[0] & a[2]) != a[1]) result = -ESTALE;
        } else if (IS(step, CREBUILD_AT_MOST)) {
            const int64_t *time = (const int64_t *)(uintptr_t)a[0];
            if (time[0] > (int64_t)a[1] || (time[0] == (int64_t)a[1] && time[1] > (int64_t)a[2])) result = -ESTALE;
        } else {
            state->next = (uint64_t)(uintptr_t)(step + 1);
            stand_still();
        }
        if (result < 0 && result > -4096 && -result != (long)step->allows) {
            state->failure = result;
            state->next = (uint64_t)(uintptr_t)step;
            stand_still();
        }
        if (step->store) *(uint64_t *)(uintptr_t)step->store = (uint64_t)result;
        step++;
    }
}

// The linker's, for a section of that name.
extern const unsigned char __start_ckpt_script[], __stop_ckpt_script[];

struct told_code script_code(void) {
    const unsigned char *entry = (const unsigned char *)(uintptr_t)follow;
    return (struct told_code){
        .bytes = __start_ckpt_script,
        .size = (size_t)(__stop_ckpt_script - __start_ckpt_script),
        .entry = (size_t)(entry - __start_ckpt_script),
    };
}
