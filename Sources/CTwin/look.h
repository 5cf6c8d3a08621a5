// What /proc tells of a process, and whether a twin of it would be exact.
#ifndef CTWIN_LOOK_H
#define CTWIN_LOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct task;

/// A file of /proc/PID as text; null where it cannot be read. The next call overwrites it.
const char *proc_text(pid_t pid, const char *name, size_t *length);
/// The children of a process with one thread; at most `limit`, and how many there are.
size_t proc_children(pid_t pid, pid_t *children, size_t limit);
/// The pid that a process has in its own namespace; 0 where it is gone.
pid_t proc_inner(pid_t pid);
/// What a process is called in a message: its inner pid and its command.
void name_process(char *name, size_t size, pid_t pid);
/// Where a `syscall` lies in the memory of a process that is held; 0 where none was found.
unsigned long find_system_call(const struct task *task);

/// Whether a fork of this process, which is held, has all that it is made of; false with `why` set.
bool can_be_copied(const struct task *task, pid_t init);
/// The same for PID 1.
bool init_can_be_copied(const struct task *task);

#endif
