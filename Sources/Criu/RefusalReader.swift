import Glibc

/// Turns the error lines that CRIU 4.2 writes when it refuses a tree into sentences.
///
/// Of a dump the lines name pids of the host, or none; what they leave out is looked up in /proc, where the tree still
/// runs. Of a restore each line is preceded by the pid in the sandbox of the process that wrote it.
struct RefusalReader {
    private let lines: [CriuLog.Line]
    /// The root of the tree on the host; nil when nothing runs.
    private let root: Int32?

    /// What the log refuses; empty when it is not understood.
    static func refusals(in log: CriuLog, root: Int32? = nil) -> [CriuRefusal] {
        let reader = RefusalReader(lines: log.errors, root: root)
        var refusals: [CriuRefusal] = []
        for index in log.errors.indices {
            if let refusal = reader.refusal(at: index), !refusals.contains(where: { $0.id == refusal.id }) {
                refusals.append(refusal)
            }
        }
        return refusals
    }

    private func refusal(at index: Int) -> CriuRefusal? {
        let text = lines[index].text
        for known in KnownRefusal.all {
            for line in known.lines {
                if let values = line.match(text), let refusal = refusal(known, values, index) {
                    return refusal
                }
            }
        }
        return untransferableFile(text, index)
    }

    /// The process that a line is about: the first one named from there on, since CRIU tells the object first and
    /// then, on its way out, whose it was.
    private func culprit(_ index: Int) -> ObservedProcess? {
        for line in lines[index...] {
            if let pid = line.text.number(after: "(pid: ") { return ObservedProcess(pid: Int32(pid)) }
        }
        return nil
    }

    private func refusal(_ known: KnownRefusal, _ values: [String: String], _ index: Int) -> CriuRefusal? {
        if known.stage == .restore { return restoreRefusal(known, values, index) }
        var values = values
        let named = values["pid"].flatMap { Int32($0) }.map { ObservedProcess(pid: $0) }
        let holder = named ?? culprit(index)
        var descriptor = values["fd"].flatMap { Int($0) }
        switch known.id {
        case "detached-mount":
            if let holder, let descriptor, holder.isMessageQueue(descriptor) {
                return CriuRefusal(
                    .known("message-queue"), holder.nameOrNumber, values, place: "fd \(descriptor)")
            }
        case "traced":
            guard let tracer = holder?.tracer else { return nil }
            values["tracer"] = "\(tracer.nameOrNumber)"
        case "dead-leader":
            let tree = root.map { TreeOfTasks(root: $0).processes.map { ObservedProcess(pid: $0) } } ?? []
            return CriuRefusal(known, (tree.first(where: \.hasDeadLeader) ?? holder)?.nameOrNumber)
        case "device":
            values["device"] = descriptor.flatMap { holder?.target(of: $0) } ?? values["device"]
        default:
            descriptor = descriptor ?? descriptorMeant(by: known, &values, holder)
        }
        return CriuRefusal(known, holder?.nameOrNumber, values, place: descriptor.map { "fd \($0)" })
    }

    /// The descriptor that a line is about, where it tells something of it.
    private func descriptorMeant(
        by known: KnownRefusal, _ values: inout [String: String], _ holder: ObservedProcess?
    ) -> Int? {
        if KnownRefusal.sockets.contains(where: { $0.id == known.id }) {
            let inode = values["inode"].flatMap { Int($0.prefix { $0.isHexDigit }, radix: 16) }
            if let inode = inode ?? values["number"].flatMap({ Int($0) }) {
                return holder?.descriptor(of: "socket:[\(inode)]")
            }
        }
        switch known.id {
        case "packet-pipe": return holder?.packetPipe
        case "socket-family":
            let family = values["family"].flatMap { Int32($0) } ?? 0
            values["family"] = ObservedProcess.familyName(family)
            return holder?.sockets.first { $0.socket.family == family }?.number
        case "netlink-data":
            return holder?.sockets.first { $0.socket.family == AF_NETLINK && $0.socket.isReadable }?.number
        case "control-message":
            return holder?.sockets.first { $0.socket.family == AF_UNIX && $0.socket.isReadable }?.number
        case "replaced-file":
            let inode = values["inode"].flatMap { UInt64($0) }
            return holder?.openFiles.first { holder?.status($0.number).map { UInt64($0.st_ino) } == inode }?
                .number
        case "large-deleted-file", "unlinkable-deleted-file":
            return holder?.descriptor(of: "\(values["path"] ?? "") (deleted)")
        default: return nil
        }
    }

    /// compel: `Can't retrieve FDs from socket`. Since Linux 6.7 an io_uring cannot be sent over a Unix socket, which
    /// is how CRIU takes descriptors out of a process, so CRIU never gets to see what it is.
    private func untransferableFile(_ text: String, _ index: Int) -> CriuRefusal? {
        guard text.hasPrefix("Can't retrieve FDs from socket"), let holder = culprit(index),
            let ring = holder.openFiles.first(where: { $0.target == "anon_inode:[io_uring]" })
        else { return nil }
        return CriuRefusal(.known("io-uring"), holder.nameOrNumber, place: "fd \(ring.number)")
    }

    private func restoreRefusal(
        _ known: KnownRefusal, _ values: [String: String], _ index: Int
    ) -> CriuRefusal? {
        var values = values
        if let path = values["path"], !path.hasPrefix("/") { values["path"] = "/" + path }
        for name in ["expected", "mode"] {
            values[name] = values[name].map { String($0.prefix { $0 != ")" }) }
        }
        let pid = values["pid"].flatMap { Int32($0) } ?? lines[index].process
        return CriuRefusal(known, pid.map { CriuRefusal.Process(pid: $0) }, values)
    }
}
