#define _GNU_SOURCE
#include "eager_wait.h"

#include <poll.h>
#include <sched.h>
#include <time.h>

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

int clinux_look_out(int fd, uint64_t nanoseconds) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    for (uint64_t end = now() + nanoseconds; now() < end; sched_yield())
        if (poll(&polled, 1, 0) > 0) return 1;
    return 0;
}
