import Glibc

/// Looks through /proc for what would keep a tree from being saved, while it runs.
///
/// It finds what `KnownRefusal.isFoundBeforehand` says. Nothing is stopped; a process that changes meanwhile may be seen
/// before or after.
public enum TreeInspection {
    /// What is found in the tree below `root`, the host's pid of its PID 1, in the order of its processes.
    public static func refusals(root: Int32) -> [CriuRefusal] {
        let first = ObservedProcess(pid: root)
        var found: [CriuRefusal] = []
        for pid in TreeOfTasks(root: root).processes {
            let process = ObservedProcess(lookingOnceAt: pid)
            guard let name = process.name else { continue }
            found += ownState(of: process, name, in: first)
            found += process.openFiles.compactMap { file($0, of: process, name) }
            found += mappings(of: process, name)
        }
        return found + filesystems(of: first)
    }

    /// Those of `refusals` that CRIU is sure to make, too: not what may be gone when everything stands still, and not what
    /// is told by its name alone.
    public static func certain(_ refusals: [CriuRefusal]) -> [CriuRefusal] {
        refusals.filter { !passing.contains($0.id) }
    }

    private static let passing: Set = [
        "unaccepted-connection", "netlink-data", "device-mapping", "device", "kernel-object", "filesystem",
        "internet-protocol",
    ]

    private static func ownState(
        of process: ObservedProcess, _ name: CriuRefusal.Process, in first: ObservedProcess
    ) -> [CriuRefusal] {
        if process.hasDeadLeader { return [CriuRefusal(.known("dead-leader"), name)] }
        // A process that has ended holds nothing but its number.
        if process.field("State")?.hasPrefix("Z") == true { return [] }
        var found: [CriuRefusal] = []
        if let tracer = process.tracer {
            found.append(CriuRefusal(.known("traced"), name, ["tracer": "\(tracer.nameOrNumber)"]))
        }
        for kind in ["pid", "user", "time"] {
            if let own = process.namespace(kind), let outer = first.namespace(kind), own != outer {
                found.append(CriuRefusal(.known("nested-namespace"), name, ["kind": kind]))
            }
        }
        // In a namespace of its own the numbers mean something else.
        if found.isEmpty, process.field("NSsid")?.split(separator: "\t").last == "0" {
            found.append(CriuRefusal(.known("outside-session"), name))
        }
        return found
    }

    private static func file(
        _ file: ObservedProcess.OpenFile, of process: ObservedProcess, _ name: CriuRefusal.Process
    ) -> CriuRefusal? {
        func refusal(_ id: String, _ values: [String: String] = [:]) -> CriuRefusal {
            CriuRefusal(.known(id), name, values, place: "fd \(file.number)")
        }
        let (number, target) = file
        if target.hasPrefix("anon_inode:") {
            let kind = target.dropFirst(11).filter { $0 != "[" && $0 != "]" }
            if KnownRefusal.savedAnonymous.contains(kind) { return nil }
            return refusal(KnownRefusal.anonymous[kind] ?? "kernel-object", ["kind": kind])
        }
        if target.hasPrefix("socket:[") { return process.socket(number).flatMap { socket($0, refusal) } }
        if target.hasPrefix("pipe:[") {
            return number == process.packetPipe ? refusal("packet-pipe") : nil
        }
        guard target.hasPrefix("/"), let status = process.status(number) else { return nil }
        if status.st_mode & S_IFMT == S_IFCHR, !isSavedDevice(status.st_rdev) {
            return refusal("device", ["device": target])
        }
        guard status.st_mode & S_IFMT == S_IFREG else { return nil }
        if process.isMessageQueue(number) { return refusal("message-queue", ["path": target]) }
        if target.hasPrefix("/secretmem") { return refusal("secret-memory") }
        let size = Int(status.st_blocks) * 512
        if status.st_nlink == 0, size > Int(Options.ghostLimit) {
            let path = target.hasSuffix(" (deleted)") ? String(target.dropLast(10)) : target
            return refusal("large-deleted-file", ["path": path, "size": "\(size)"])
        }
        return nil
    }

    private static func socket(
        _ socket: ObservedProcess.Socket, _ refusal: (String, [String: String]) -> CriuRefusal
    ) -> CriuRefusal? {
        switch socket.family {
        case AF_INET, AF_INET6:
            let raw = Int32(SOCK_RAW.rawValue)
            // IP, ICMP, TCP, UDP, ICMPv6 and UDP-Lite: criu/sk-inet.c, `can_dump_ipproto`.
            if socket.type != raw, ![0, 1, 6, 17, 58, 136].contains(socket.transport) {
                return socket.transport == 262
                    ? refusal("mptcp", [:])
                    : refusal("internet-protocol", ["protocol": "\(socket.transport)"])
            }
            return socket.isListening && socket.isReadable ? refusal("unaccepted-connection", [:]) : nil
        case AF_NETLINK: return socket.isReadable ? refusal("netlink-data", [:]) : nil
        case AF_UNIX, AF_PACKET: return nil
        default: return refusal("socket-family", ["family": ObservedProcess.familyName(socket.family)])
        }
    }

    /// Those that CRIU opens by their path: memory devices, terminals, tun and autofs (criu/files.c, `dump_chrdev`;
    /// criu/tty.c).
    private static func isSavedDevice(_ device: dev_t) -> Bool {
        let (major, minor) = (device >> 8 & 0xfff, device & 0xff | (device >> 12 & 0xfff00))
        switch major {
        case 1, 4, 5, 136...143: return true
        case 10: return minor == 200 || minor == 235
        default: return false
        }
    }

    private static func mappings(of process: ObservedProcess, _ name: CriuRefusal.Process) -> [CriuRefusal] {
        var found: [CriuRefusal] = []
        for line in process.lines("maps", with: ["[io_uring]", "/secretmem", "/dev/"]) {
            let words = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
            guard words.count == 6 else { continue }
            let target = words[5].drop { $0 == " " }
            let id =
                if target.hasPrefix("anon_inode:[io_uring]") {
                    "io-uring-mapping"
                } else if target.hasPrefix("/secretmem") {
                    "secret-memory"
                } else if target.hasPrefix("/dev/"), words[3] != "00:01", !target.hasPrefix("/dev/zero"),
                    !target.hasPrefix("/dev/shm/")
                {
                    "device-mapping"
                } else {
                    ""
                }
            // One of a kind is enough to know.
            if id.isEmpty || found.contains(where: { $0.id == id }) { continue }
            found.append(
                CriuRefusal(.known(id), name, ["range": String(words[0])], place: "at \(words[0])"))
        }
        return found
    }

    /// Filesystems that are named after no mount in the tree of ours and that CRIU does not mount again.
    private static func filesystems(of first: ObservedProcess) -> [CriuRefusal] {
        first.lines("mountinfo", with: [" fuse"]).compactMap { line in
            let words = line.split(separator: " ")
            guard let dash = words.firstIndex(of: "-"), dash + 1 < words.count, words.count > 4,
                words[dash + 1].hasPrefix("fuse.") || words[dash + 1] == "fuseblk"
            else { return nil }
            return CriuRefusal(.known("filesystem"), first.name, ["path": String(words[4])])
        }
    }
}
