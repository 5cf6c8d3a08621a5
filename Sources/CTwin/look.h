// What /proc tells of a process, and whether a twin of it would be exact.
#ifndef CTWIN_LOOK_H
#define CTWIN_LOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct task;

/// A file of /proc/PID as text; null where it cannot be read. The thread's next call overwrites it.
const char *proc_text(pid_t pid, const char *name, size_t *length);
/// The children of a process with one thread; at most `limit`, and how many there are.
size_t proc_children(pid_t pid, pid_t *children, size_t limit);
/// The pid that a process has in its own namespace; 0 where it is gone.
pid_t proc_inner(pid_t pid);
/// The same as `refuse`, beginning with the process: its inner pid and its command.
bool refuse_of(pid_t pid, const char *format, ...) __attribute__((format(printf, 2, 3)));
/// Where a `syscall` lies in the memory of a process that is held; 0 where none was found.
unsigned long find_system_call(const struct task *task);

/// Whether a process has one thread, no signal to come and a breakpoint's signal in order; false with `why` set. Its
/// pid in its own namespace goes to `inner`.
bool is_quiet(pid_t pid, pid_t *inner);
/// Whether a process that is held can be made to call, and its memory forked; false with `why` set. Its pid in its own
/// namespace goes to `inner`.
bool can_make_calls(const struct task *task, pid_t *inner);
/// Whether a fork of this process has all that it is made of beside memory and descriptors; false with `why` set.
bool can_be_copied(pid_t pid, pid_t init);
/// Whether a copy has all memory of the process, both standing still; false with `why` set.
bool copy_has_all(pid_t pid, pid_t copy);
/// The same as can_be_copied for PID 1.
bool init_can_be_copied(const struct task *task);

#endif
