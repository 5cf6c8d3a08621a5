// What a process is made to do to become one of a snapshot: a script of system calls (x86-64).
#ifndef CREBUILD_H
#define CREBUILD_H

#include <stdint.h>

enum crebuild_kind {
    /// Makes the system call `number`.
    CREBUILD_CALL = 0,
    /// The same, unless its second argument, a length, is 0.
    CREBUILD_RANGE = 5,
    /// clone3(2) with its two arguments; the child goes on at the step at arguments[2], its pid must be arguments[3].
    CREBUILD_BIRTH = 1,
    /// What lies at arguments[0], under the mask arguments[2], must be arguments[1].
    CREBUILD_EQUAL = 2,
    /// The time at arguments[0], a struct timespec, must not be after arguments[1] and [2].
    CREBUILD_AT_MOST = 3,
    /// Stands still (int3); goes on with the next step.
    CREBUILD_STOP = 4,
};

/// One step of a script.
struct crebuild_step {
    uint32_t kind;
    uint32_t number;
    /// Bit i: argument i is where a number of 32 bits lies that is meant.
    uint32_t loads;
    /// An errno that is no failure; 0 for none.
    uint32_t allows;
    /// Where the answer goes, 64 bits; 0 for nowhere.
    uint64_t store;
    uint64_t arguments[6];
};

/// Where a process is in its script. Each has a copy of its own in its memory.
struct crebuild_state {
    /// The step to go on with.
    uint64_t next;
    /// 0, or the negative errno of the step at `next`.
    int64_t failure;
};

/// Where the code, the script and its data lie in every process while they are made, and what follows.
struct crebuild_plan {
    /// A free range of addresses, whole pages. The code is put at its start.
    uint64_t place, room;
    /// The script as it is to lie at place + 4096, in the memory of who asks. It begins with a struct crebuild_state.
    uint64_t script, script_size;
    /// One struct cnote for each process, PID 1's first, in the memory of who asks: pid in the sandbox, registers,
    /// mask, limits, nice value and vectors.
    uint64_t notes;
    uint64_t count;
};

#endif
