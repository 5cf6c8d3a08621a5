/// Descriptors that CRIU 4.2 cannot save. The lines are those of criu/files.c, files-ext.c, files-reg.c and pipes.c.
extension KnownRefusal {
    private static let held = "cannot be checkpointed"

    static let files: [KnownRefusal] = [
        KnownRefusal(
            "io-uring", "holds an io_uring{place}, which \(held)",
            why: "the kernel lets nobody else see what waits in its queues",
            hint: "start the program with io_uring turned off, or forbid io_uring_setup to the sandbox",
            beforehand: true,
            lines: ["Can't dump file {fd} of that type [{mode}] (anon anon_inode:[io_uring])"]),
        KnownRefusal(
            "perf-event", "holds a perf event counter{place}, which \(held)",
            why: "a counter's value and set-up cannot be read back",
            hint: "end the profiler, or save when it has finished", beforehand: true,
            lines: ["Can't dump file {fd} of that type [{mode}] (anon anon_inode:[perf_event])"]),
        KnownRefusal(
            "userfaultfd", "holds a userfaultfd{place}, which \(held)",
            why: "faults that wait to be served belong to a descriptor that cannot be made again",
            hint: "turn off what serves page faults in user space (post-copy, some garbage collectors)",
            beforehand: true,
            lines: ["Can't dump file {fd} of that type [{mode}] (anon anon_inode:[userfaultfd])"]),
        KnownRefusal(
            "bpf-map", "holds a BPF map{place}, which \(held)",
            why: "the bundled CRIU is built without libbpf", hint: "end the program that traces with BPF",
            beforehand: true,
            lines: ["Can't dump file {fd} of that type [{mode}] (anon anon_inode:bpf-map)"]),
        KnownRefusal(
            "bpf-program", "holds a BPF program{place}, which \(held)",
            why: "what the verifier accepted cannot be read back as it was loaded",
            hint: "end the program that traces with BPF", beforehand: true,
            lines: [
                "Can't dump file {fd} of that type [{mode}] (anon anon_inode:bpf-prog)",
                "Can't dump file {fd} of that type [{mode}] (anon anon_inode:bpf_link)",
                "Can't dump file {fd} of that type [{mode}] (anon anon_inode:bpf-link)",
            ]),
        KnownRefusal(
            "landlock-ruleset", "holds a Landlock ruleset{place}, which \(held)",
            why: "its rules cannot be read back",
            hint: "have the program close the ruleset once it has restricted itself", beforehand: true,
            lines: ["Can't dump file {fd} of that type [{mode}] (anon anon_inode:[landlock-ruleset])"]),
        KnownRefusal(
            "mount-context", "holds an unfinished mount{place}, which \(held)",
            why: "its parameters cannot be read back", hint: "save when the mount is made", beforehand: true,
            lines: ["Can't dump file {fd} of that type [{mode}] (anon anon_inode:[fscontext])"]),
        KnownRefusal(
            "seccomp-notifier", "holds a seccomp notifier{place}, which \(held)",
            why: "system calls that wait for its answer cannot be made to wait again",
            hint: "start the supervisor without user notification", beforehand: true,
            lines: ["Can't dump file {fd} of that type [{mode}] (anon anon_inode:seccomp notify)"]),
        KnownRefusal(
            "kernel-object", "holds a kernel object of kind {kind}{place}, which \(held)",
            why: "CRIU does not know this kind", hint: "end the process, or have it close the descriptor",
            beforehand: true,
            lines: ["Can't dump file {fd} of that type [{mode}] (anon {kind})"]),
        KnownRefusal(
            "device", "has the device {device} open{place}, whose state \(held)",
            why: "what a driver keeps for a descriptor cannot be read back",
            hint: "close the device (KVM, FUSE, GPU …) before the save", beforehand: true,
            lines: ["Can't dump file {fd} of that type [{mode}] (chr {device})"]),
        KnownRefusal(
            "unknown-file", "holds a file of a kind CRIU does not know ({kind}){place}",
            why: "CRIU has no way to open it again", hint: "have the process close the descriptor",
            lines: ["Can't dump file {fd} of that type [{mode}] ({kind})"]),
        KnownRefusal(
            "thread-pidfd", "holds a pidfd of a thread{place}, which \(held)",
            why: "CRIU opens pidfds of whole processes only", hint: "have it close the descriptor",
            lines: ["PIDFD_THREAD flag is currently not supported"]),
        KnownRefusal(
            "packet-pipe", "holds a pipe in packet mode{place}, which \(held)",
            why: "where one packet ends and the next begins cannot be read back",
            hint: "have the program open the pipe without O_DIRECT", beforehand: true,
            lines: ["The packetized mode for pipes is not supported"]),
        KnownRefusal(
            "large-deleted-file",
            "holds the deleted file {path} of {size} bytes{place}, more than the \(Options.ghostLimit) that are saved",
            why: "a deleted file that is open is stored with the processes",
            hint: "close the file, or truncate it", beforehand: true,
            lines: ["Can't dump ghost file {path} of {size} size, increase limit"]),
        KnownRefusal(
            "unlinkable-deleted-file",
            "holds the deleted file {path}{place}, to which no new name can be given",
            why: "its filesystem refuses a link to it", hint: "close the file",
            lines: ["Can't link remap to {path}: "]),
        KnownRefusal(
            "replaced-file",
            "holds a file{place} by whose name there is another one now, which \(held)",
            why: "it can be opened again only by the name it was opened by",
            hint: "remove the other file, or have the process open its file anew",
            lines: ["Unaccessible path opened {found}, need {device}:{inode}"]),
        KnownRefusal(
            "message-queue", "holds the POSIX message queue {path}{place}, which \(held)",
            why: "CRIU cannot read the messages that wait in it",
            hint: "close the queue before the save; pipes, sockets and System V queues can be saved",
            beforehand: true, lines: []),
        KnownRefusal(
            "detached-mount", "holds {path}{place} on a mount that is not in the sandbox's tree",
            why: "a mount that hangs nowhere cannot be made again", hint: "close it, or mount it somewhere",
            lines: ["Can't lookup mount={mount} for fd={fd} path={path}"]),
        KnownRefusal(
            "overmounted-file", "holds {path}{place}, over which something else is mounted",
            why: "it cannot be opened again by its name", hint: "close it, or unmount what covers it",
            lines: [
                "Open files on overmounted mounts are not supported yet; mount={mount} fd={fd} path={path}"
            ]),
        KnownRefusal(
            "outside-terminal", "uses a terminal whose other end is outside the sandbox",
            why: "the other end would not be there after a restore",
            hint: "start programs through ckpt exec -t, whose terminals lie inside",
            lines: ["Found slave peer index {index} without "]),
    ]
}
