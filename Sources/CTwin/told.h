// Code that a process is made to run.
#ifndef CTWIN_TOLD_H
#define CTWIN_TOLD_H

#include <stddef.h>

#include "cnote.h"
#include "crebuild.h"

/// Code that can lie anywhere, and ends at a breakpoint (int3).
struct told_code {
    const unsigned char *bytes;
    size_t size, entry;
};
/// Takes a zeroed struct cnote_told and fills it.
struct told_code told_code(void);
/// Takes a struct crebuild_state and follows its script to the next stop, or to a failure.
struct told_code script_code(void);

#endif
