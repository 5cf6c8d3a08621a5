// Code that a process is made to run.
#ifndef CTWIN_TOLD_H
#define CTWIN_TOLD_H

#include <stddef.h>

#include "cnote.h"

/// It takes a zeroed struct cnote_told, fills it, and ends at a breakpoint (int3). It can lie anywhere.
struct told_code {
    const unsigned char *bytes;
    size_t size, entry;
};
struct told_code told_code(void);

#endif
