#define _GNU_SOURCE
#include "task_attributes.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
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

void clinux_stand(pid_t pid, int nice) {
    char path[64], text[8];
    setpriority(PRIO_PROCESS, (id_t)pid, nice);
    snprintf(path, sizeof path, "/proc/%d/autogroup", (int)pid);
    int group = open(path, O_WRONLY | O_CLOEXEC);
    if (group < 0) return;
    ssize_t written = write(group, text, (size_t)snprintf(text, sizeof text, "%d", nice));
    (void)written;
    close(group);
}
