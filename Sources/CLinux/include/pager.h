// Memory that comes in behind a restored process, by userfaultfd(2).
#ifndef CLINUX_PAGER_H
#define CLINUX_PAGER_H

#include <stdint.h>
#include <sys/types.h>

/// A userfaultfd of this process, for faults of its program alone (UFFD_USER_MODE_ONLY); -1 with errno where it may not.
int clinux_userfault_open(void);
/// Agrees on the protocol with a fresh userfaultfd, once, with events of the process or without. These return 0 or an errno.
int clinux_userfault_agree(int userfault, int tells_events);
/// Has it cover the memory from `start` to `end`, or no more: pages that are missing there.
int clinux_userfault_cover(int userfault, uint64_t start, uint64_t end);
int clinux_userfault_leave(int userfault, uint64_t start, uint64_t end);
/// Puts pages of ours where the process has none, in one mapping; EFAULT where ours cannot be read.
int clinux_userfault_put(int userfault, uint64_t address, const void *pages, uint64_t size);

/// Whether any page from `start` to `end` is there, by /proc/PID/pagemap, which is open; -1 with errno where
/// that cannot be read.
int clinux_any_page_there(int pagemap, uint64_t start, uint64_t end);

/// How many open descriptors go through a Unix socket at once.
enum { clinux_most_descriptors = 64 };
/// Sends bytes and at most that many descriptors through a Unix socket. Returns 0 or an errno.
int clinux_send_descriptors(int socket, const void *bytes, int length, const int *descriptors, int count);
/// What comes through one: bytes, and descriptors, for which there is room for `clinux_most_descriptors`; they are
/// close-on-exec. Returns how many bytes, 0 at the end, or -1 with errno set.
long clinux_receive_descriptors(int socket, void *bytes, unsigned long room, int *descriptors, int *count);

/// The least that a plan begins with: see pager.c.
enum { clinux_pager_magic = 0x636b7067 };

/// Where the pager writes in the file that stands for unfinished memory: how many bytes are to come and were
/// to come, as two decimal numbers of 20 digits; and, where it had to end the sandbox, why.
enum { clinux_pager_progress_offset = 64, clinux_pager_reason_offset = 128 };

/// Starts this very program again, as a pager that is asked through `socket`. Returns the pid of our child,
/// or -1 with `code` set.
pid_t clinux_pager_spawn(int socket, int *code);

/// Serves one sandbox's missing pages, asked through `socket`, until all are there; returns the exit code.
///
/// Must be called in a process of its own that has no second thread yet.
int clinux_pager_run(int socket);

#endif
