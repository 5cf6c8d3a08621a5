// Waiting for what comes soon.
#ifndef EAGER_WAIT_H
#define EAGER_WAIT_H

#include <stdint.h>

/// How long who asked for something looks for the answer before it sleeps, in nanoseconds: what a small program takes.
enum { CLINUX_EAGERNESS = 2000000 };

/// Looks until there is something to read from one of `count` descriptors, 3 at most, or its other end is gone, or so many
/// nanoseconds are over. Returns which, as a mask; 0 where there is nothing. Where threads wait at once, one or a quarter as
/// many as there are processors, it returns 0 at once, and has the others leave off too.
///
/// A processor with nothing to do sleeps. To wake it takes some µs, in a virtual machine up to 300: more than all else that
/// a short call takes. So who is likely to get an answer soon looks again and again, and lets everybody else run in between
/// (sched_yield(2)), before it sleeps.
int clinux_look_out(const int *fds, int count, uint64_t nanoseconds);

#endif
