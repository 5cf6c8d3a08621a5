import Glibc
import LinuxSystem

/// The server's own log: what started, ended and went wrong, one line each with the time.
///
/// `ROOT/server.log` is appended to; a server that starts finding more than 8 MiB renames it to
/// `server.log.old` first.
struct ServerLog: Sendable {
    private static let rotation = 8 << 20
    private let file: Monitor<Int32>

    /// Opens ROOT/server.log, which stays open to the process's end.
    init(in directory: borrowing Descriptor) throws(SystemError) {
        var status = stat()
        if fstatat(directory.raw, "server.log", &status, AT_SYMLINK_NOFOLLOW) == 0,
            status.st_size > ServerLog.rotation
        {
            renameat(directory.raw, "server.log", directory.raw, "server.log.old")
        }
        let log = try Descriptor.open(
            "server.log", below: directory, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, mode: 0o600)
        file = Monitor(log.release())
    }

    /// Appends a line; the log is for reading afterwards, so a full disk does not stop the server.
    func write(_ line: String) {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var parts = tm()
        gmtime_r(&now.tv_sec, &parts)
        let text = [UInt8](unsafeUninitializedCapacity: 32) { buffer, count in
            let start = UnsafeMutableRawPointer(buffer.baseAddress!).assumingMemoryBound(to: CChar.self)
            count = strftime(start, 32, "%Y-%m-%dT%H:%M:%S", &parts)
        }
        let millis = String(now.tv_nsec / 1_000_000 + 1000).dropFirst()
        let oneLine = line.split(separator: "\n").joined(separator: " | ")
        let bytes = text + Array(".\(millis)Z [\(getpid())] \(oneLine)\n".utf8)
        file.with { file in _ = Glibc.write(file, bytes, bytes.count) }
    }
}
