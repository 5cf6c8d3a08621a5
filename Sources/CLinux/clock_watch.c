#include "clock_watch.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <sys/timerfd.h>
#include <unistd.h>

int clinux_clock_watch(void) {
    int watch = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (watch < 0) return -1;
    struct itimerspec never = {.it_value.tv_sec = LONG_MAX / 1000000000};
    if (timerfd_settime(watch, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) == 0) return watch;
    close(watch);
    return -1;
}

int clinux_clock_was_set(int watch) {
    uint64_t expirations;
    // Says ECANCELED once, and again when the clock is set again (fs/timerfd.c, timerfd_canceled).
    return read(watch, &expirations, sizeof expirations) >= 0 || errno != EAGAIN;
}
