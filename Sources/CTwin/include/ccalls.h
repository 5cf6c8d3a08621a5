// System calls that a signal ends, and that begin again where none comes (x86-64).
#ifndef CCALLS_H
#define CCALLS_H

#include <stdint.h>

/// What the kernel leaves in rax of a call that it breaks off, until it knows whether a handler is to run
/// (include/linux/errno.h).
enum {
    CALL_ERESTARTSYS = -512,            // a handler ends it unless it has SA_RESTART
    CALL_ERESTARTNOINTR = -513,         // nothing ends it
    CALL_ERESTARTNOHAND = -514,         // any handler ends it
    CALL_ERESTART_RESTARTBLOCK = -516,  // any handler ends it, and else it goes on for what is left of its time
};

/// CALL_ERESTARTSYS or CALL_ERESTARTNOHAND: what becomes of a call that is broken off before it has done anything; 0 for
/// one that is not known to end by a signal.
int32_t call_restart(uint64_t number);

#endif
