// What Swift cannot import from the kernel's headers, and the code between clone3 and exec.
#ifndef CLINUX_H
#define CLINUX_H

#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/types.h>
// Glibc's Swift module leaves the extended attributes out; whoever imports CLinux has them.
#include <sys/xattr.h>

#include "borrowed.h"
#include "change_queue.h"
#include "descriptor_look.h"
#include "eager_wait.h"
#include "clock_watch.h"
#include "criu_spawn.h"
#include "daemon.h"
#include "loop_device.h"
#include "network.h"
#include "pager.h"
#include "sandbox_spawn.h"
#include "task_attributes.h"

/// pidfd_open(2).
int clinux_pidfd_open(pid_t pid);
/// pidfd_getfd(2).
int clinux_pidfd_getfd(int pidfd, int fd);
/// pidfd_send_signal(2).
int clinux_pidfd_send_signal(int pidfd, int signal);

/// The f_type of the filesystem that holds `path` (statfs(2)), or -1.
long clinux_filesystem_type(const char *path);
/// Whether changes in the filesystem of an open file are dated by this kernel's clock, and not by somebody else's (FUSE, NFS).
int clinux_dates_changes(int file);

/// lsetxattr(2) with a string value.
int clinux_set_xattr(const char *path, const char *name, const char *value);

/// unshare(2) with CLONE_NEWNS.
int clinux_unshare_mounts(void);

/// process_madvise(2) with MADV_PAGEOUT for `count` address ranges of another process, given as start and length in
/// turn. Returns the bytes it was done for, or -1.
long clinux_page_out(int pidfd, const uint64_t *ranges, int count);

/// unshare(2) with CLONE_FS: the calling thread gets a working directory and umask of its own.
int clinux_unshare_directory(void);

/// openat2(2) that takes `root` for the root directory: no `..`, symbolic or magic link leads out of it.
int clinux_open_in_root(int root, const char *path, int flags);
/// The same with the mode of a file that O_CREAT makes.
int clinux_create_in_root(int root, const char *path, int flags, unsigned mode);

/// The version of Landlock that this kernel offers (landlock_create_ruleset(2)), or -1.
int clinux_landlock_version(void);

/// Whether an open file lies in a filesystem that is a view of the kernel, such as proc or sysfs: to write there acts
/// on the kernel, to read there may not be what stat(2) says.
int clinux_is_kernel_view(int file);

/// Sets the host name of the UTS namespace of process `pid`, from a thread that enters it for the while.
int clinux_set_hostname(pid_t pid, const char *name);

/// What the UTS and IPC namespaces of a sandbox hold.
struct clinux_names {
    char hostname[65];
    char domainname[65];
    /// System V's shared memory, semaphore sets and messages.
    long objects;
};

/// Looks into the namespaces of a process, in which the calling thread stays; 0, or an errno.
int clinux_enter_names(pid_t pid, struct clinux_names *names);

/// Gives the calling thread an IPC namespace of its own; 0, or an errno.
int clinux_unshare_ipc(void);

/// Has pieces of 1 MiB and more given back to the kernel once they are freed, for good (mallopt(3)). Else the first large
/// piece that is freed raises the bound to its size, up to 32 MiB, and what is below it stays with the thread's arena.
/// A function, since malloc.h in a module of Swift's claims what Glibc's has.
void clinux_give_back_large_pieces(void);

#endif
