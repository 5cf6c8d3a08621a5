// Learns when the wall clock is set: timerfd_create(2), which Swift does not import.
#ifndef CLINUX_CLOCK_WATCH_H
#define CLINUX_CLOCK_WATCH_H

/// A timer of CLOCK_REALTIME that never goes off, and that the kernel cancels when that clock is set; or -1.
int clinux_clock_watch(void);

/// Whether the clock was set since `watch` was made, or since this last said so.
int clinux_clock_was_set(int watch);

#endif
