// Starts PID 1 of a sandbox: the code between clone3(2) and execve(2).
#ifndef SANDBOX_SPAWN_H
#define SANDBOX_SPAWN_H

#include <sys/types.h>

/// What `clinux_spawn_sandbox` is to start.
struct clinux_sandbox {
    /// Where the new root is mounted for a moment, in the child's namespace alone: any directory.
    const char *staging;
    /// Mounts that are attached nowhere (fsmount(2)), and where each goes below the new root; the first is the root
    /// itself, its path is not used. A descriptor of -1 makes what lies at the path a writable mount of its own.
    const int *mount_fds;
    const char *const *mount_paths;
    int mounts;
    /// Has `mount_fds` filled, beside which the namespaces are made: called with `context` when they are; an errno.
    int (*fill_mounts)(void *context);
    void *context;
    /// Mounts, directories and files of the caller's namespace, and what each is bound on below the new root once
    /// /proc is there.
    const char *const *bind_sources;
    const char *const *bind_paths;
    int binds;
    /// The program that becomes PID 1, by its path inside the root.
    const char *init;
    /// Handed over as descriptors 3 and 4: the plan to read and the pipe to report on. As 5, but for -1: a device.
    int plan_fd;
    int status_fd;
    int device_fd;
    /// What the clocks of its time namespace show beyond the machine's, for /proc/PID/timens_offsets; null where they go with
    /// the machine's. It is in that namespace only once it has executed `init` (from Linux 6.2 on), or enters it by setns(2).
    const char *clocks;
    /// Whether it stays in the caller's network namespace.
    int shares_network;
    /// A network namespace to stand in while a new one is made, which takes the sizes of its tables from there, and the
    /// one to return to; -1 for none.
    int nursery_fd, own_netns_fd;
    /// Open cgroup.procs files of the cgroups that the child joins before it executes anything.
    const int *cgroup_procs;
    int cgroup_count;
};

/// Which step failed, and with which errno.
struct clinux_spawn_failure {
    const char *step;
    int code;
};

/// Clones into new user, pid, mnt, uts, ipc, net and cgroup namespaces (every id mapped to itself; net at will), attaches the
/// mounts, makes the first the root directory and executes `init`, which finds a time namespace for its children and is to
/// enter it. Returns the pid and stores a pidfd, or -1 with `failure` set.
/// A failure after the clone leaves no process behind.
pid_t clinux_spawn_sandbox(const struct clinux_sandbox *sandbox, int *pidfd,
                           struct clinux_spawn_failure *failure);

/// Mounts a read-only sysfs at `path` from a fresh network namespace, and returns to the caller's. Returns 0, or -1
/// with `failure` set.
int clinux_mount_private_sysfs(const char *path, struct clinux_spawn_failure *failure);

#endif
