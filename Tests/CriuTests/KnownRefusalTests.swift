import Glibc
import Testing

@testable import Criu

/// The table of known refusals, and the reader on lines as CRIU 4.2 writes them.
@Suite struct KnownRefusalTests {
    /// For each refusal that takes more than a program to have, a log with CRIU's line (its sources, printf filled in).
    /// `<pid>` is this process.
    static let logs: [(id: String, line: String, says: String)] = [
        (
            "bpf-map", "Can't dump file 7 of that type [600] (anon anon_inode:bpf-map)",
            "holds a BPF map (fd 7)"
        ),
        (
            "bpf-program", "Can't dump file 7 of that type [600] (anon anon_inode:bpf-prog)",
            "a BPF program (fd 7)"
        ),
        (
            "seccomp-notifier", "Can't dump file 7 of that type [600] (anon anon_inode:seccomp notify)",
            "a seccomp notifier (fd 7)"
        ),
        ("kernel-object", "Can't dump file 7 of that type [600] (anon anon_inode:kvm-vm)", "kvm-vm (fd 7)"),
        (
            "device", "Can't dump file 700 of that type [20660] (chr 10:232)",
            "the device 10:232 open (fd 700)"
        ),
        (
            "unknown-file", "Can't dump file 7 of that type [140777] (unknown x)",
            "CRIU does not know (unknown x) (fd 7)"
        ),
        ("thread-pidfd", "PIDFD_THREAD flag is currently not supported", "a pidfd of a thread"),
        ("mptcp", "inet: Unsupported proto 262 for socket d676", "an MPTCP socket"),
        ("internet-protocol", "inet: Unsupported proto 132 for socket d676", "a socket of protocol 132"),
        (
            "internet-type", "inet: Can't dump 5 inet socket d676. Only stream, dgram and raw are supported.",
            "socket of type 5"
        ),
        ("socket-family", "sockets: BUG! Unknown socket collected (family 38)", "AF_ALG"),
        ("netlink-groups", "netlink: The netlink socket 0xd676 has more than 32 groups", "more groups"),
        (
            "outside-connection", "unix: External socket is used. Consider using --ext-unix-sk option.",
            "outside"
        ),
        (
            "unlinkable-deleted-file", "Can't link remap to /mnt/x: Operation not permitted",
            "deleted file /mnt/x"
        ),
        ("detached-mount", "Can't lookup mount=312 for fd=900 path=/x", "holds /x (fd 900) on a mount"),
        ("outside-terminal", "tty: Found slave peer index 3 without correspond master peer", "a terminal"),
        (
            "foreign-namespace", "One or more namespaces doesn't belong to the target user namespace",
            "namespace"
        ),
        ("unstoppable", "Unseizable non-zombie <pid> found, state D, err -1/1", "cannot be stopped"),
        ("single-stopped-thread", "Individually stopped threads not supported", "some of its threads"),
        (
            "outside-session", "A session leader of <pid>(14) is outside of its pid namespace",
            "whose leader is outside"
        ),
        (
            "reused-pid",
            "Conflict with a dead task with the same PID as of this thread (virt 5, real <pid>).",
            "thread"
        ),
        ("unknown-mapping", "Unknown shit 600 (/drm mm object)", "has /drm mm object mapped"),
        (
            "device-mapping", "Can't handle non-regular mapping on <pid>'s map 7f0000000000",
            "(at 7f0000000000)"
        ),
        ("uprobe", "PID <pid> has uprobes vma. Consider using --allow-uprobes.", "a uprobe"),
        (
            "shared-memory-outside", "Task <pid> with SysVIPC shmem map @7f0000000000 doesn't live in IPC ns",
            "shared memory"
        ),
        ("asynchronous-io", "Not valid ring #0", "an asynchronous I/O ring"),
        ("filesystem", "mnt: FS mnt ./mnt dev 0x33 root / unsupported id 401", "mounted at ./mnt"),
        ("out-of-memory", "Can't map mem for pipe buffers: Cannot allocate memory", "more memory"),
        ("missing-right", "Can't get rlimit 7: Operation not permitted", "(Can't get rlimit 7)"),
        ("file-size", "File root/x has bad size 12 (expect 10)", "/root/x with 10 bytes, but it has 12 now"),
        ("file-mode", "File root/x has bad mode 0100600 (expect 0100644)", "with the mode 0100644"),
        ("file-build", "File usr/lib/libc.so.6 has bad build-ID", "/usr/lib/libc.so.6"),
        (
            "file-missing", "Can't open file usr/bin/x on restore: No such file or directory",
            "/usr/bin/x, which cannot be opened: No such file or directory"
        ),
        ("pid-taken", "Can't fork for 14: File exists", "process 14"),
        ("cpu", "cpu: CPU instruction capabilities do not match run time", "on a processor"),
        ("kernel", "rseq: can't restore as kernel doesn't support it", "what this kernel does not have"),
        ("architecture", "Core march mismatch 3", "another architecture"),
        ("image-format", "Not supported images version 7", "another CRIU"),
        ("damaged-image", "Unexpected EOF on core-14.img", "a damaged process image"),
        ("address-in-use", "inet: Can't bind inet socket (id 3): Address already in use", "in use"),
        ("killed", "99 killed by signal 9: Killed", "(signal 9)"),
    ]

    /// Those that a test has from the real CRIU: RefusalTests here, and RefusedSaveTests of the end-to-end tests.
    static let real: Set = [
        "io-uring", "io-uring-mapping", "perf-event", "userfaultfd", "landlock-ruleset", "mount-context",
        "packet-pipe", "large-deleted-file", "replaced-file", "message-queue", "overmounted-file",
        "unaccepted-connection", "corked-udp", "netlink-data", "control-message", "nested-namespace",
        "traced",
        "dead-leader", "secret-memory", "mptcp", "outside-connection", "socket-family", "file-size",
        "file-missing", "damaged-image",
    ]

    @Test(arguments: logs.indices) func linesAreUnderstood(_ index: Int) throws {
        let (id, line, says) = Self.logs[index]
        let text = line.replacing("<pid>", with: "\(getpid())")
        let log = CriuLog(
            parsing:
                "Error (criu/some.c:1): \(text)\nError (criu/cr-dump.c:1698): Dump files (pid: \(getpid())) failed with -1\n"
        )
        let refusal = try #require(RefusalReader.refusals(in: log).first, "\(line)")
        #expect(refusal.id == id)
        #expect(refusal.description.contains(says), "\(refusal)")
        #expect(!refusal.description.contains("{"), "\(refusal)")
        #expect(!refusal.hint.isEmpty)
    }

    @Test func aRestoresLinesNameTheirProcess() throws {
        let log = CriuLog(
            parsing:
                "(00.012345)     14: Error (criu/files-reg.c:2175): File root/x has bad size 12 (expect 10)\n"
        )
        let refusal = try #require(RefusalReader.refusals(in: log).first)
        #expect(refusal.process?.pid == 14)
    }

    @Test func eachIsTriedSomewhere() {
        let ids = KnownRefusal.all.map(\.id)
        #expect(Set(ids).count == ids.count)
        #expect(Set(ids) == Self.real.union(Self.logs.map(\.id)))
    }

    /// docs/refusals.md is the table; `CKPT_WRITE_DOCS=1` writes it.
    @Test func thePageIsTheTable() throws {
        let path = repository + "/docs/refusals.md"
        if getenv("CKPT_WRITE_DOCS") != nil {
            let file = try #require(fopen(path, "w"))
            fputs(KnownRefusalPage.markdown, file)
            fclose(file)
        }
        #expect(
            text(of: path) == KnownRefusalPage.markdown,
            "CKPT_WRITE_DOCS=1 swift test --filter thePageIsTheTable")
    }
}

/// How docs/refusals.md is made of the table.
enum KnownRefusalPage {
    static var markdown: String {
        var lines = [
            "# What cannot be saved, and what cannot be restored", "",
            "<!-- Made of the table in Sources/Criu by Tests/CriuTests/KnownRefusalTests.swift; do not edit. -->",
            "",
            "A save that is refused leaves the sandbox running and nothing behind; a restore that is refused leaves",
            "what ran before. The message names the process by its pid in the sandbox and its command, the object by",
            "its descriptor or address, and says what to do:", "",
            "```",
            "ckpt: sandbox main cannot be saved: process 14 (redis-server) holds an io_uring (fd 9), which cannot be checkpointed (hint: …)",
            "```", "",
            "`ckpt check NAME` finds those with a mark under *check* beforehand, without stopping anything, and exits with 1.",
            "",
        ]
        lines += [
            "## Refused saves", "", "| id | process … | because | what to do | check |",
            "|---|---|---|---|---|",
        ]
        lines += KnownRefusal.all.filter { $0.stage == .save }.map {
            row($0) + " \($0.isFoundBeforehand ? "✓" : "") |"
        }
        lines += [
            "", "## Refused restores", "", "| id | process … | because | what to do |", "|---|---|---|---|",
        ]
        lines += KnownRefusal.all.filter { $0.stage == .restore }.map(row)
        return lines.joined(separator: "\n") + "\n"
    }

    private static func row(_ known: KnownRefusal) -> String {
        let what = known.what.replacing("{place}", with: "").replacing("{", with: "*").replacing(
            "}", with: "*")
        return "| `\(known.id)` | \(what) | \(known.why) | \(known.hint) |"
    }
}
