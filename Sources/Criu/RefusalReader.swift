/// Turns the error lines that CRIU 4.2 writes when it refuses a tree into sentences.
///
/// The lines name pids of the host, or none; what they leave out is looked up in /proc, where the tree still runs
/// after a refused dump.
struct RefusalReader {
    private let lines: [CriuLog.Line]

    /// What the log refuses; empty when it is not understood.
    static func refusals(in log: CriuLog) -> [CriuRefusal] {
        let reader = RefusalReader(lines: log.errors)
        var refusals: [CriuRefusal] = []
        for index in log.errors.indices {
            if let refusal = reader.refusal(at: index), !refusals.contains(refusal) {
                refusals.append(refusal)
            }
        }
        return refusals
    }

    private func refusal(at index: Int) -> CriuRefusal? {
        let text = lines[index].text
        return unsupportedFile(text, index) ?? untransferableFile(text, index) ?? packetPipe(text, index)
            ?? socket(text, index) ?? nestedNamespace(text) ?? traced(text) ?? foreignSession(text)
            ?? ghost(text, index) ?? mapping(text, index)
    }

    /// The process that a line is about: the first one named from there on, since CRIU tells the object first and
    /// then, on its way out, whose it was.
    private func culprit(_ index: Int) -> ObservedProcess? {
        for line in lines[index...] {
            if let pid = line.text.number(after: "(pid: ") { return ObservedProcess(pid: Int32(pid)) }
        }
        return nil
    }

    private func holds(
        _ thing: String, _ descriptor: Int?, _ holder: ObservedProcess?, hint: String? = nil
    ) -> CriuRefusal {
        let place = descriptor.map { " (fd \($0))" } ?? ""
        return CriuRefusal(
            process: holder?.nameOrNumber, what: "holds \(thing)\(place), which cannot be checkpointed",
            hint: hint)
    }

    // MARK: One function a kind of line

    /// criu/files-ext.c: `Can't dump file 9 of that type [600] (anon anon_inode:[perf_event])`
    private func unsupportedFile(_ text: String, _ index: Int) -> CriuRefusal? {
        guard let descriptor = text.number(after: "Can't dump file "),
            let detail = text.between("] (", ")")
        else { return nil }
        let isAnonymous = detail.firstRange(of: "anon_inode:") != nil
        return holds(
            (isAnonymous ? Self.name(ofAnonymous: Self.kind(of: detail)) : nil)
                ?? "a file of a kind CRIU does not know (\(detail))",
            descriptor,
            culprit(index))
    }

    /// compel: `Can't retrieve FDs from socket`. Since Linux 6.7 an io_uring cannot be sent over a Unix socket, which
    /// is how CRIU takes descriptors out of a process, so CRIU never gets to see what it is.
    private func untransferableFile(_ text: String, _ index: Int) -> CriuRefusal? {
        guard text.hasPrefix("Can't retrieve FDs from socket"), let holder = culprit(index),
            let ring = holder.openFiles.first(where: { $0.target == "anon_inode:[io_uring]" })
        else { return nil }
        return holds(
            Self.name(ofAnonymous: "io_uring"), ring.number, holder,
            hint: Self.withoutRing)
    }

    /// criu/pipes.c: `The packetized mode for pipes is not supported yet`
    private func packetPipe(_ text: String, _ index: Int) -> CriuRefusal? {
        guard text.hasPrefix("The packetized mode for pipes") else { return nil }
        let holder = culprit(index)
        let direct = 0o40000  // O_DIRECT
        let pipe = holder?.openFiles.first {
            $0.target.hasPrefix("pipe:") && (holder?.openFlags($0.number) ?? 0) & direct != 0
        }
        return holds("a pipe in packet mode", pipe?.number, holder)
    }

    /// criu/sk-inet.c: `inet: Unsupported proto 262 for socket d676`; criu/sk-unix.c: `unix: External socket is used`,
    /// `unix: Unix socket 321540 not found`
    private func socket(_ text: String, _ index: Int) -> CriuRefusal? {
        if text.firstRange(of: "External socket is used") != nil { return outsideSocket(nil, culprit(index)) }
        // An accepted connection lies in the network namespace of whoever connected, where CRIU does not look.
        if let inode = text.number(after: "Unix socket "), text.hasSuffix("not found") {
            let holder = culprit(index)
            return outsideSocket(holder?.descriptor(of: "socket:[\(inode)]"), holder)
        }
        guard let inode = text.number(after: "socket ", radix: 16) else { return nil }
        let holder = culprit(index)
        let descriptor = holder?.descriptor(of: "socket:[\(inode)]")
        if let number = text.number(after: "Unsupported proto ") {
            guard number == 262 else { return holds("a socket of protocol \(number)", descriptor, holder) }
            return holds(
                "an MPTCP socket", descriptor, holder,
                hint: "set net.mptcp.enabled=0 in the sandbox, or GODEBUG=multipathtcp=0 for a Go program")
        }
        if let type = text.number(after: "Can't dump "), text.firstRange(of: "inet socket") != nil {
            return holds("an internet socket of type \(type)", descriptor, holder)
        }
        return nil
    }

    private func outsideSocket(_ descriptor: Int?, _ holder: ObservedProcess?) -> CriuRefusal {
        let place = descriptor.map { " (fd \($0))" } ?? ""
        return CriuRefusal(
            process: holder?.nameOrNumber,
            what: "holds a Unix socket\(place) connected to a process outside the sandbox", hint: nil)
    }

    /// criu/namespaces.c: `Can't dump nested pid namespace for 15072`
    private func nestedNamespace(_ text: String) -> CriuRefusal? {
        guard let kind = text.between("Can't dump nested ", " namespace"),
            let pid = text.number(after: " for ")
        else { return nil }
        return CriuRefusal(
            process: ObservedProcess(pid: Int32(pid)).nameOrNumber,
            what: "is in a \(kind) namespace of its own, which cannot be checkpointed",
            hint:
                "start it without a sandbox of its own (--no-sandbox of a browser, no bubblewrap, no unshare)"
        )
    }

    /// compel: `Unseizable non-zombie 15116 found, state S, err -1/10`
    private func traced(_ text: String) -> CriuRefusal? {
        guard let pid = text.number(after: "Unseizable non-zombie ") else { return nil }
        let process = ObservedProcess(pid: Int32(pid))
        guard let tracer = process.tracer else {
            return CriuRefusal(process: process.nameOrNumber, what: "cannot be stopped", hint: nil)
        }
        return CriuRefusal(
            process: process.nameOrNumber,
            what: "is traced by process \(tracer.nameOrNumber), and a traced process cannot be checkpointed",
            hint: "detach the debugger or strace first")
    }

    /// criu/cr-dump.c: `A session leader of 812(14) is outside of its pid namespace`
    private func foreignSession(_ text: String) -> CriuRefusal? {
        guard text.firstRange(of: "is outside of its pid namespace") != nil,
            let pid = text.number(after: "A session leader of ") ?? text.number(after: "zombie process ")
        else { return nil }
        return CriuRefusal(
            process: ObservedProcess(pid: Int32(pid)).nameOrNumber,
            what: "belongs to a session whose leader is outside the sandbox", hint: nil)
    }

    /// criu/files-reg.c: `Can't dump ghost file /tmp/x of 2147483648 size, increase limit`
    private func ghost(_ text: String, _ index: Int) -> CriuRefusal? {
        guard let path = text.between("Can't dump ghost file ", " of "), let size = text.number(after: " of ")
        else { return nil }
        return CriuRefusal(
            process: culprit(index)?.nameOrNumber,
            what:
                "holds the deleted file \(path) of \(size) bytes, more than the \(Options.ghostLimit) that are saved",
            hint: "close the file, or truncate it")
    }

    /// criu/proc_parse.c: `Unknown shit 600 (anon_inode:[io_uring])`, said of what is mapped, or
    /// `Unsupported mapping found 00007f0000000000-00007f0000001000`
    private func mapping(_ text: String, _ index: Int) -> CriuRefusal? {
        if text.hasPrefix("Unknown shit "), let target = text.between("(", ")") {
            let kind =
                target.hasPrefix("anon_inode:") ? Self.name(ofAnonymous: Self.kind(of: target)) : target
            return CriuRefusal(
                process: culprit(index)?.nameOrNumber,
                what: "has \(kind) mapped, which cannot be checkpointed",
                hint: kind == "an io_uring" ? Self.withoutRing : nil)
        }
        guard let range = text.between("Unsupported mapping found ", " ") else { return nil }
        return CriuRefusal(
            process: culprit(index)?.nameOrNumber,
            what: "has a mapping of a kind that cannot be checkpointed (at \(range))", hint: nil)
    }

    private static let withoutRing =
        "start the program with io_uring turned off, or forbid io_uring_setup to the sandbox"

    /// `perf_event` of `anon anon_inode:[perf_event]`.
    private static func kind(of target: String) -> String {
        (target.between("anon_inode:", "\n") ?? target).filter { $0 != "[" && $0 != "]" }
    }

    private static func name(ofAnonymous kind: String) -> String {
        switch kind {
        case "io_uring": "an io_uring"
        case "perf_event": "a perf event counter"
        case "userfaultfd": "a userfaultfd"
        case "bpf-map": "a BPF map"
        case "bpf-prog", "bpf_link", "bpf-link": "a BPF program"
        case "fscontext", "fsmount": "an unfinished mount"
        case "landlock-ruleset": "a Landlock ruleset"
        case "seccomp notify": "a seccomp notifier"
        default: "a kernel object of kind \(kind)"
        }
    }
}
