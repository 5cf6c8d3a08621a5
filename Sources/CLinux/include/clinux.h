// What Swift cannot import from the kernel's headers, and the code between clone3 and exec.
#ifndef CLINUX_H
#define CLINUX_H

#include <stdint.h>
#include <sys/types.h>

/// pidfd_open(2).
int clinux_pidfd_open(pid_t pid);
/// pidfd_send_signal(2).
int clinux_pidfd_send_signal(int pidfd, int signal);

#endif
