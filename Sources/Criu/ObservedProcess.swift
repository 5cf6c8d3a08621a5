import Glibc
import LinuxSystem

/// A process of the tree, looked at through /proc while it still runs.
struct ObservedProcess {
    /// Its pid on the host.
    let pid: Int32

    /// A descriptor of the process and what it refers to, for example 9 and `anon_inode:[io_uring]`.
    typealias OpenFile = (number: Int, target: String)

    /// Its pid in the innermost pid namespace, and its command; nil when it is gone.
    var name: CriuRefusal.Process? {
        guard let status = field("NSpid"),
            let inner = status.split(separator: "\t").last.flatMap({ Int32($0) }),
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

    private func field(_ key: String) -> String? {
        text("status")?.split(separator: "\n").first { $0.hasPrefix(key + ":") }
            .map { String($0.dropFirst(key.count + 1)).trimmed }
    }

    private func text(_ file: String) -> String? {
        guard let file = try? Descriptor.open("/proc/\(pid)/\(file)", O_RDONLY),
            let bytes = try? file.readAll()
        else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }

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
