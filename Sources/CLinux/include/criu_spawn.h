// Starts a CRIU worker where it has to stand: the code between vfork(2) and execve(2).
#ifndef CRIU_SPAWN_H
#define CRIU_SPAWN_H

#include <sys/types.h>

#include "sandbox_spawn.h"

/// What `clinux_spawn_worker` is to start, and where.
struct clinux_worker {
    /// The program's path, and its arguments and environment, each ended by a null pointer.
    const char *path;
    char *const *argv;
    char *const *envp;
    /// Descriptors that the program finds as 3, 4, 5 …; all others but 0 to 2 (/dev/null) are closed.
    const int *kept;
    int kept_count;
    /// A network namespace to enter, or -1.
    int netns_fd;
    /// Open cgroup.procs files of the cgroups to join.
    const int *cgroup_procs;
    int cgroup_count;
    /// Whether it gets a cgroup namespace of its own, rooted at the cgroups it joined.
    int new_cgroup_namespace;
    /// As many files as cgroup_procs, of the cgroups it goes back to once it has that namespace; null stays.
    const int *home_procs;
    /// The rights that files it makes do not give (umask(2)).
    mode_t umask;
};

/// Starts the program as the leader of a session of its own, with every signal as by default.
/// Returns the pid, or -1 with `failure` set and no process left behind.
pid_t clinux_spawn_worker(const struct clinux_worker *worker, struct clinux_spawn_failure *failure);

#endif
