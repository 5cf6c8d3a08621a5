// System calls made in the name of another process.
#ifndef CLINUX_BORROWED_H
#define CLINUX_BORROWED_H

#include <sys/types.h>

/// A process that this thread has stopped inside a system call and lets make other ones.
struct clinux_borrowed;

/// Stops process `pid`, which must wait in a system call; null and an errno in `code` where that fails.
/// Only the calling thread may use what is returned, and must give it back.
struct clinux_borrowed *clinux_borrow(pid_t pid, int *code);

/// Has the process make a system call and returns what the kernel answers: a negative errno is a failure.
/// The process's own memory is what addresses mean.
long clinux_borrowed_call(struct clinux_borrowed *process, long number, const unsigned long arguments[6]);

/// Where in the process's memory `clinux_borrowed_size` bytes lie that it does not need meanwhile.
unsigned long clinux_borrowed_memory(const struct clinux_borrowed *process);
enum { clinux_borrowed_size = 1024 };

/// Reads or writes memory of any process (process_vm_readv(2)); 0 or an errno.
int clinux_read_memory(pid_t pid, unsigned long address, void *to, unsigned long size);
int clinux_write_memory(pid_t pid, unsigned long address, const void *from, unsigned long size);

/// Lets the process go on with the system call it was stopped in.
void clinux_give_back(struct clinux_borrowed *process);

#endif
