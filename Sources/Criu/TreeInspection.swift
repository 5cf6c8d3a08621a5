import Glibc

/// Looks through /proc for what would keep a tree from being saved, while it runs.
///
/// It finds what `KnownRefusal.isFoundBeforehand` says. Nothing is stopped; a process that changes meanwhile may be seen
/// before or after.
public enum TreeInspection {
    /// What was found, in the order of the processes.
    public struct Findings: Sendable {
        /// What would keep the tree from being saved.
        public var refusals: [CriuRefusal] = []
        /// What a save would lose, one sentence each.
        public var losses: [String] = []
    }

    /// Looks through the tree below `root`, the host's pid of its PID 1.
    public static func findings(root: Int32) -> Findings {
        let first = ObservedProcess(pid: root)
        var found = Findings()
        for pid in TreeOfTasks(root: root).processes {
            let process = ObservedProcess(lookingOnceAt: pid)
            guard let name = process.name else { continue }
            found.refusals += ownState(of: process, name, in: first)
            found.refusals += process.openFiles.compactMap { file($0, of: process, name) }
            mappings(of: process, name, &found)
        }
        found.refusals += filesystems(of: first)
        return found
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
        for kind in ["pid", "user", "time", "uts", "ipc", "cgroup"] {
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
            // One of them is named. Its number is found out for a packet pipe alone, for it takes a look at all files.
            return process.isPacketPipe(number) && number == process.packetPipe ? refusal("packet-pipe") : nil
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

    private static func mappings(
        of process: ObservedProcess, _ name: CriuRefusal.Process, _ found: inout Findings
    ) {
        var ids: Set<String> = []
        for line in process.lines("maps", with: ["[io_uring]", "/secretmem", "/dev/", "/[aio]"]) {
            let words = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
            guard words.count == 6, let kind = kind(ofMapping: words[5].drop { $0 == " " }),
                // One of a kind is enough to know.
                ids.insert(kind).inserted
            else { continue }
            if kind == asynchronousRing {
                found.losses.append(
                    "process \(name) uses asynchronous I/O (io_submit): requests that are under way at the save never "
                        + "complete after a restore")
            } else {
                let range = String(words[0])
                found.refusals.append(
                    CriuRefusal(.known(kind), name, ["range": range], place: "at \(range)"))
            }
        }
    }

    /// The mapping that io_setup(2) makes. CRIU makes it again, empty, and cannot know what was under way.
    private static let asynchronousRing = "/[aio]"

    private static func kind(ofMapping target: Substring) -> String? {
        if target.hasPrefix("anon_inode:[io_uring]") { return "io-uring-mapping" }
        if target.hasPrefix("/secretmem") { return "secret-memory" }
        if target.hasPrefix(asynchronousRing) { return asynchronousRing }
        let isMemory = target.hasPrefix("/dev/zero") || target.hasPrefix("/dev/shm/")
        return target.hasPrefix("/dev/") && !isMemory ? "device-mapping" : nil
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
