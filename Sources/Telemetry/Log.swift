import Glibc
public import LinuxSystem

/// The server's own log: one line for each operation that ended, and for what went wrong by itself.
///
/// Writing never fails and never waits for a reader of a journal: a full disk does not stop the server.
public final class Log: Sendable {
    /// Lines below it are not written.
    public let level: LogLevel
    private let format: LogFormat
    private let sink: any LogSink

    /// A log that goes to `sink`.
    public init(to sink: any LogSink, level: LogLevel = .info, format: LogFormat = .text) {
        (self.sink, self.level, self.format) = (sink, level, format)
    }

    /// A log that keeps nothing.
    public static var silent: Log { Log(to: NoSink(), level: .error) }

    /// Whether lines of this level are written: who composes one may ask first.
    public func writes(_ level: LogLevel) -> Bool { level >= self.level }

    /// Writes a line.
    public func write(_ line: LogLine) {
        guard writes(line.level) else { return }
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        sink.write(line, line.formatted(format, time: now))
    }

    /// Writes a line of just a message.
    public func write(_ level: LogLevel, _ message: String) { write(LogLine(level, message)) }
}

/// Where lines of the log go.
public protocol LogSink: Sendable {
    /// Takes a line, in its parts and as it would be written to a file.
    func write(_ line: LogLine, _ formatted: String)
}

private struct NoSink: LogSink {
    func write(_ line: LogLine, _ formatted: String) {}
}

/// The process's stderr; with prefixes where the journal reads it (sd-daemon(3)).
public struct StderrSink: LogSink {
    private let prefixed: Bool
    private let turn = Monitor(())

    /// Lines as they are, or each after `<PRIORITY>`.
    public init(prefixed: Bool = false) { self.prefixed = prefixed }

    public func write(_ line: LogLine, _ formatted: String) {
        let bytes = Array((prefixed ? "<\(line.level.priority)>" : "").utf8) + Array(formatted.utf8)
        turn.with { _ in
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = rest.withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
                if count < 0, errno == EINTR { continue }
                if count <= 0 { return }
                rest = rest.dropFirst(count)
            }
        }
    }
}

/// A file that is appended to and does not grow without bound: one that gets larger than its limit becomes
/// `NAME.old` in the place of the one before.
public final class FileSink: LogSink {
    /// Largest size of the file, in bytes; twice that is on disk at most.
    public static let limit: Int64 = 8 << 20

    private struct State {
        var file: Int32
        var size: Int64
    }
    private let directory: Int32
    private let name: String
    private let limit: Int64
    private let state: Monitor<State>

    /// Opens `name` in a directory, which stays open to the process's end.
    public init(
        _ name: String, in directory: borrowing Descriptor, limit: Int64 = FileSink.limit
    ) throws(SystemError) {
        self.directory = try directory.duplicate().release()
        (self.name, self.limit) = (name, limit)
        let (file, size) = try Self.open(name, in: directory)
        state = Monitor(State(file: file, size: size))
    }

    public func write(_ line: LogLine, _ formatted: String) {
        let bytes = Array(formatted.utf8)
        state.with { state in
            if state.size + Int64(bytes.count) > limit { rotate(&state) }
            let count = Glibc.write(state.file, bytes, bytes.count)
            if count > 0 { state.size += Int64(count) }
        }
    }

    private func rotate(_ state: inout State) {
        let isStderr = Self.isSame(state.file, STDERR_FILENO)
        guard renameat(directory, name, directory, "\(name).old") == 0,
            let (file, size) = try? Self.open(name, in: Descriptor(owning: dup(directory)))
        else {
            // Better a larger log than none: it is tried again after as much as the limit once more.
            state.size = 0
            return
        }
        // A detached server has the log as its stderr as well.
        if isStderr { dup2(file, STDERR_FILENO) }
        _ = close(state.file)
        (state.file, state.size) = (file, size)
    }

    private static func open(
        _ name: String, in directory: borrowing Descriptor
    ) throws(SystemError) -> (Int32, Int64) {
        let file = try Descriptor.open(
            name, below: directory, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, mode: 0o600)
        var status = stat()
        try retrying("fstat", name) { fstat(file.raw, &status) }
        return (file.release(), Int64(status.st_size))
    }

    private static func isSame(_ left: Int32, _ right: Int32) -> Bool {
        var (one, other) = (stat(), stat())
        return fstat(left, &one) == 0 && fstat(right, &other) == 0 && one.st_dev == other.st_dev
            && one.st_ino == other.st_ino
    }
}
