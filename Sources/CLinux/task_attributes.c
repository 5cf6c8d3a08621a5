#define _GNU_SOURCE
#include "task_attributes.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

int clinux_get_affinity(pid_t thread, uint64_t *cpus, int words) {
    // The system call tells how many bytes it wrote, which glibc hides.
    return (int)syscall(SYS_sched_getaffinity, thread, words * sizeof *cpus, cpus);
}

int clinux_set_affinity(pid_t thread, const uint64_t *cpus, int words) {
    return (int)syscall(SYS_sched_setaffinity, thread, words * sizeof *cpus, cpus);
}

enum { IOPRIO_WHO_PROCESS = 1 };

int clinux_get_io_priority(pid_t thread) {
    return (int)syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, thread);
}

int clinux_set_io_priority(pid_t thread, int priority) {
    return (int)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, thread, priority);
}
