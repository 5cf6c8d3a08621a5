import CLinux
import Glibc
import LinuxSystem

/// A process of the tree, looked at through /proc while it still runs.
struct ObservedProcess {
    /// Its pid on the host.
    let pid: Int32
    /// /proc/PID/status as it was once; nil reads it anew each time.
    private var knownStatus: [UInt8]?

    init(pid: Int32) { self.pid = pid }

    /// A process of which the status is read once, for many questions.
    init(lookingOnceAt pid: Int32) {
        self.pid = pid
        knownStatus = bytes("status") ?? []
    }

    /// A descriptor of the process and what it refers to, for example 9 and `anon_inode:[io_uring]`.
    typealias OpenFile = (number: Int, target: String)

    /// Its pid in the sandbox, the namespace below ours, and its command; nil when it is gone.
    var name: CriuRefusal.Process? {
        guard let status = field("NSpid"),
            let inner = status.split(separator: "\t").prefix(2).last.flatMap({ Int32($0) }),
            let command = text("comm")
        else { return nil }
        return CriuRefusal.Process(pid: inner, command: command.trimmed)
    }

    /// The process as it is known in its sandbox; by its host pid when it is gone.
    var nameOrNumber: CriuRefusal.Process { name ?? CriuRefusal.Process(pid: pid, command: nil) }

    /// The process that traces it, or nil.
    var tracer: ObservedProcess? {
        field("TracerPid").flatMap { Int32($0) }.flatMap { $0 > 0 ? ObservedProcess(pid: $0) : nil }
    }

    /// Its open descriptors, lowest first.
    var openFiles: [OpenFile] {
        guard let directory = opendir("/proc/\(pid)/fd") else { return [] }
        defer { closedir(directory) }
        var files: [OpenFile] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if let number = Int(name), let target = link("fd/\(name)") { files.append((number, target)) }
        }
        return files.sorted { $0.number < $1.number }
    }

    /// Its lowest descriptor that refers to `target`.
    func descriptor(of target: String) -> Int? { openFiles.first { $0.target == target }?.number }

    /// The O_* flags that a descriptor was opened with (proc_pid_fdinfo(5)).
    func openFlags(_ descriptor: Int) -> Int? {
        text("fdinfo/\(descriptor)")?.split(separator: "\n").first { $0.hasPrefix("flags:") }
            .flatMap { Int(String($0.dropFirst(6)).trimmed, radix: 8) }
    }

    /// A socket behind a descriptor.
    struct Socket {
        /// AF_*, SOCK_* and IPPROTO_* of <sys/socket.h> and <netinet/in.h>.
        let family: Int32
        let type: Int32
        let transport: Int32
        /// Whether something waits to be read, or to be accepted.
        let isReadable: Bool
        let isListening: Bool
    }

    /// What a socket's descriptor is, asked of a duplicate of it (pidfd_getfd(2)).
    func socket(_ descriptor: Int) -> Socket? {
        let process = clinux_pidfd_open(pid)
        guard process >= 0 else { return nil }
        defer { close(process) }
        let copy = clinux_pidfd_getfd(process, Int32(descriptor))
        guard copy >= 0 else { return nil }
        defer { close(copy) }
        func option(_ name: Int32) -> Int32? {
            var value: Int32 = 0
            var size = socklen_t(MemoryLayout<Int32>.size)
            return getsockopt(copy, SOL_SOCKET, name, &value, &size) == 0 ? value : nil
        }
        guard let family = option(SO_DOMAIN), let type = option(SO_TYPE) else { return nil }
        var poller = pollfd(fd: copy, events: Int16(POLLIN), revents: 0)
        let isReadable = poll(&poller, 1, 0) == 1 && poller.revents & Int16(POLLIN) != 0
        return Socket(
            family: family, type: type, transport: option(SO_PROTOCOL) ?? 0, isReadable: isReadable,
            isListening: option(SO_ACCEPTCONN) == 1)
    }

    /// Its descriptors that are sockets.
    var sockets: [(number: Int, socket: Socket)] {
        openFiles.filter { $0.target.hasPrefix("socket:[") }
            .compactMap { file in socket(file.number).map { (file.number, $0) } }
    }

    /// What stat(2) says of the file behind a descriptor.
    func status(_ descriptor: Int) -> stat? {
        var status = stat()
        return stat("/proc/\(pid)/fd/\(descriptor)", &status) == 0 ? status : nil
    }

    /// Whether a descriptor is a POSIX message queue (MQUEUE_MAGIC of ipc/mqueue.c).
    func isMessageQueue(_ descriptor: Int) -> Bool {
        clinux_filesystem_type("/proc/\(pid)/fd/\(descriptor)") == 0x1980_0202
    }

    /// Whether its first thread is dead while others run.
    var hasDeadLeader: Bool {
        guard field("State")?.hasPrefix("Z") == true else { return false }
        return TreeOfTasks.threads(of: pid).count > 1
    }

    /// One of its namespaces, as text that is equal for equal ones.
    func namespace(_ kind: String) -> String? { link("ns/\(kind)") }

    /// The lines of one of its files in /proc that hold one of these words.
    func lines(_ file: String, with words: [String]) -> [Substring] {
        guard let bytes = bytes(file) else { return [] }
        // Most files hold none, and Swift's strings are slow to search.
        let isThere = words.contains { word in
            bytes.withUnsafeBytes { text in
                Array(word.utf8).withUnsafeBytes {
                    memmem(text.baseAddress!, text.count, $0.baseAddress!, $0.count) != nil
                }
            }
        }
        guard isThere else { return [] }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").filter { line in
            words.contains { line.firstRange(of: $0) != nil }
        }
    }

    /// A field of /proc/PID/status, without the white space around it.
    func field(_ key: String) -> String? {
        guard let status = knownStatus ?? bytes("status") else { return nil }
        let start = Array((key + ":").utf8)
        return status.split(separator: 10).first { $0.starts(with: start) }
            .map { String(decoding: $0.dropFirst(start.count), as: UTF8.self).trimmed }
    }

    /// The bytes of one of its files in /proc.
    func bytes(_ file: String) -> [UInt8]? { try? Files.read("/proc/\(pid)/\(file)") }

    private func text(_ file: String) -> String? { bytes(file).map { String(decoding: $0, as: UTF8.self) } }

    private func link(_ file: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let length = buffer.withUnsafeMutableBytes {
            readlink("/proc/\(pid)/\(file)", $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
        }
        return length < 0 ? nil : String(decoding: buffer[..<length], as: UTF8.self)
    }
}

extension String {
    fileprivate var trimmed: String {
        let blank: (Character) -> Bool = { $0.isWhitespace || $0.isNewline }
        return String(drop(while: blank).reversed().drop(while: blank).reversed())
    }
}

extension ObservedProcess {
    /// Its lowest pipe end that is in packet mode.
    var packetPipe: Int? {
        openFiles.first { $0.target.hasPrefix("pipe:") && isPacketPipe($0.number) }?.number
    }

    /// Whether a descriptor, of a pipe, is in packet mode, which only the write end tells (O_DIRECT).
    func isPacketPipe(_ descriptor: Int) -> Bool { (openFlags(descriptor) ?? 0) & 0o40000 != 0 }

    /// What a descriptor refers to.
    func target(of descriptor: Int) -> String? { openFiles.first { $0.number == descriptor }?.target }

    /// A socket family in words (<bits/socket.h>).
    static func familyName(_ family: Int32) -> String {
        let names: [Int32: String] = [
            15: "AF_KEY", 21: "AF_RDS", 29: "AF_CAN", 30: "AF_TIPC", 31: "AF_BLUETOOTH", 38: "AF_ALG",
            40: "AF_VSOCK", 43: "AF_SMC", 44: "AF_XDP",
        ]
        return names[family] ?? "number \(family)"
    }
}
