// What a sandbox's PID 1 does before it executes anything.
#ifndef SANDBOX_BIRTH_H
#define SANDBOX_BIRTH_H

#include <linux/sched.h>

#include "sandbox_spawn.h"

/// What the child needs, made before it is born.
struct birth {
    const struct clinux_sandbox *sandbox;
    /// A socket pair: when its ids are mapped and it is in its cgroups the mounts come, some with each byte, and BIRTH_BEGIN
    /// with the last.
    int go[2];
    /// Room for their numbers in the child.
    int *mount_fds;
    int report_fd;
    /// Of what its clocks are to show.
    long clocks_length;
};

enum { BIRTH_MORE = 'm', BIRTH_BEGIN = 'g' };

/// What the child writes on the report pipe when a step fails; execve closes the pipe instead.
struct birth_report {
    int step;
    int code;
};

enum birth_step {
    BIRTH_GO,
    BIRTH_CGROUP,
    BIRTH_GROUPS,
    BIRTH_PRIVATE,
    BIRTH_ATTACH,
    BIRTH_PROC,
    BIRTH_CLOCKS,
    BIRTH_BIND,
    BIRTH_PIVOT,
    BIRTH_DETACH,
    BIRTH_HAND_OVER,
    BIRTH_EXECUTE,
};

/// clone3(2) with CLONE_VM and a stack, on which the child goes through the steps. Returns the pid, or an errno negated.
long birth_clone(struct clone_args *args, const struct birth *birth);

#endif
