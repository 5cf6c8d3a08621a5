/// What a process is in or does that CRIU 4.2 cannot save. The lines are those of criu/namespaces.c, seize.c, cr-dump.c,
/// proc_parse.c, shmem.c, aio.c and mount.c.
extension KnownRefusal {
    static let processes: [KnownRefusal] = [
        KnownRefusal(
            "nested-namespace", "is in a {kind} namespace of its own, which cannot be checkpointed",
            why: "CRIU saves one such namespace a tree; only mount and network namespaces may be several",
            hint:
                "start it without a sandbox of its own (--no-sandbox of a browser, no bubblewrap, no unshare)",
            beforehand: true, lines: ["Can't dump nested {kind} namespace for {pid}"]),
        KnownRefusal(
            "foreign-namespace", "is in a namespace that does not belong to the sandbox's user namespace",
            why: "only what the sandbox owns can be made again inside it",
            hint: "do not move processes of the sandbox with nsenter",
            lines: ["One or more namespaces doesn't belong to the target user namespace"]),
        KnownRefusal(
            "traced", "is traced by process {tracer}, and a traced process cannot be checkpointed",
            why: "a process has one tracer, and CRIU has to be it",
            hint: "detach the debugger or strace first",
            beforehand: true, lines: ["Unseizable non-zombie {pid} found"]),
        KnownRefusal(
            "unstoppable", "cannot be stopped",
            why: "it is dying, or waits in the kernel without an end (state D)",
            hint: "save again in a moment",
            lines: ["Unseizable non-zombie {pid} found"]),
        KnownRefusal(
            "dead-leader", "has ended its first thread while others run, which cannot be checkpointed",
            why: "CRIU needs a process's first thread to work in it",
            hint: "have main wait for the other threads (pthread_join) instead of pthread_exit",
            beforehand: true,
            lines: [
                "Zombies with threads are not supported", "Zombie thread not supported",
                "Zombie with children?! O_o",
            ]),
        KnownRefusal(
            "single-stopped-thread", "has some of its threads stopped and others not",
            why: "CRIU stops and continues whole processes", hint: "continue them (kill -CONT)",
            lines: ["Individually stopped threads not supported"]),
        KnownRefusal(
            "outside-session", "belongs to a session whose leader is outside the sandbox",
            why: "its session could not be made again",
            hint: "start it through ckpt exec, or with setsid, not with nsenter", beforehand: true,
            lines: [
                "A session leader of {pid}({inner}) is outside of its pid namespace",
                "A session leader of zombie process {pid}({inner}) is outside of its pid namespace",
            ]),
        KnownRefusal(
            "reused-pid",
            "has a thread with the number of a process that has ended and is still open in /proc",
            why: "two of the same number cannot be made again", hint: "close what is open below /proc/NUMBER",
            lines: [
                "Conflict with a dead task with the same PID as of this thread (virt {inner}, real {pid})"
            ]),
    ]

    static let mappings: [KnownRefusal] = [
        KnownRefusal(
            "io-uring-mapping", "has an io_uring mapped{place}, which cannot be checkpointed",
            why: "the queues outlive the descriptor that made them",
            hint: "start the program with io_uring turned off, or forbid io_uring_setup to the sandbox",
            beforehand: true, lines: ["Unknown shit {mode} (anon_inode:[io_uring])"]),
        KnownRefusal(
            "secret-memory", "has secret memory (memfd_secret){place}, which cannot be checkpointed",
            why: "nobody but the process itself can read it",
            hint: "start the program with it turned off, or forbid memfd_secret to the sandbox",
            beforehand: true, lines: ["Unknown shit {mode} (/secretmem"]),
        KnownRefusal(
            "unknown-mapping", "has {target} mapped, which cannot be checkpointed",
            why: "CRIU cannot map it again", hint: "have the program unmap it",
            lines: ["Unknown shit {mode} ({target})"]),
        KnownRefusal(
            "device-mapping", "has a device mapped (at {range}), which cannot be checkpointed",
            why: "a device's memory is not the process's own",
            hint: "close the device (GPU, RDMA, sound …) before the save", beforehand: true,
            lines: [
                "Unsupported mapping found {range}",
                "Can't handle non-regular mapping on {pid}'s map {range}",
                "Bogus mapping 0x{range} (flags: ",
            ]),
        KnownRefusal(
            "uprobe", "has a uprobe set in its code, which cannot be checkpointed",
            why: "the tracer outside would be missing after a restore",
            hint: "end the tracer (perf, bpftrace) on the host", lines: ["PID {pid} has uprobes vma."]),
        KnownRefusal(
            "shared-memory-outside",
            "uses System V shared memory of another IPC namespace (at {range}), which cannot be checkpointed",
            why: "it is shared with processes outside", hint: "start the program inside the sandbox",
            lines: ["ask {pid} with SysVIPC shmem map @{range} doesn't live in IPC ns"]),
        KnownRefusal(
            "asynchronous-io", "has an asynchronous I/O ring that cannot be checkpointed",
            why: "requests under way belong to the kernel", hint: "save when its requests are done",
            lines: ["Not valid ring #{number}", "Ring size is not aligned"]),
    ]

    static let machine: [KnownRefusal] = [
        KnownRefusal(
            "filesystem", "needs the filesystem mounted at {path}, of a kind CRIU does not know",
            why: "CRIU cannot mount it again", hint: "unmount it before the save", beforehand: true,
            lines: ["FS mnt {path} dev {device} root {root} unsupported id {number}"]),
        KnownRefusal(
            "out-of-memory", "needs more memory than there is",
            why: "the machine or the sandbox's memory limit is at its end",
            hint: "give the machine or the sandbox more memory",
            lines: [": Cannot allocate memory"]),
        KnownRefusal(
            "missing-right", "needs a right that ckpt's server does not have ({call})",
            why: "CRIU reads and sets what only root may, with all capabilities",
            hint: "run the server as root with all capabilities; ckpt doctor says what is missing",
            lines: ["{call}: Operation not permitted", "{call}: Permission denied"]),
    ]
}
