public import LinuxSystem

/// How and where a server writes its log.
public struct LogOptions: Sendable {
    /// Where the log goes.
    public enum Destination: String, Sendable, CaseIterable {
        /// `server.log` in the store, 8 MiB at most and as much again in `server.log.old`.
        case file
        case stderr
        /// systemd's journal; stderr where there is none.
        case journal
    }

    public var destination: Destination
    public var level: LogLevel
    public var format: LogFormat

    /// By default lines of text from `info` on, in the store's file.
    public init(destination: Destination = .file, level: LogLevel = .info, format: LogFormat = .text) {
        (self.destination, self.level, self.format) = (destination, level, format)
    }

    /// Where a server in the foreground writes: to the journal where that has its stderr, else to stderr.
    public static var foreground: Destination { JournalSink.hasStderr ? .journal : .stderr }

    /// Opens the log of the store in `directory`.
    public func open(in directory: borrowing Descriptor) throws(SystemError) -> Log {
        Log(to: try sink(in: directory), level: level, format: format)
    }

    private func sink(in directory: borrowing Descriptor) throws(SystemError) -> any LogSink {
        switch destination {
        case .file: return try FileSink("server.log", in: directory)
        case .stderr: return StderrSink(prefixed: false)
        case .journal:
            if let journal = try? JournalSink() { return journal }
            // The journal may read the stream all the same, and then understands priorities.
            return StderrSink(prefixed: JournalSink.hasStderr)
        }
    }
}
