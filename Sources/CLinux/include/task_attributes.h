// What the kernel keeps for a thread beside its memory and registers.
#ifndef CLINUX_TASK_ATTRIBUTES_H
#define CLINUX_TASK_ATTRIBUTES_H

#include <stdint.h>
#include <sys/types.h>

/// The processors a thread may run on, one bit each (sched_getaffinity(2)); returns the bytes written, or -1.
int clinux_get_affinity(pid_t thread, uint64_t *cpus, int words);
/// sched_setaffinity(2).
int clinux_set_affinity(pid_t thread, const uint64_t *cpus, int words);

/// The I/O scheduling class and priority of a thread (ioprio_get(2)), or -1.
int clinux_get_io_priority(pid_t thread);
/// ioprio_set(2).
int clinux_set_io_priority(pid_t thread, int priority);

/// How a process shares the processors with others: nice 19 for last, 0 for as everybody. Sessions share them among one another
/// whatever their processes' nice values are (sched(7), autogroup), so its session gets the same.
void clinux_stand(pid_t pid, int nice);

#endif
