import FoundationEssentials
import Glibc
import LinuxSystem
import Messages

/// What the commands of a sandbox have printed, for `ckpt logs`: bounded, and not part of any snapshot.
///
/// Records are JSON lines in `ROOT/sandboxes/NAME/log`; at 4 MiB the file becomes `log.1`, and the one before goes.
final class CommandLog: Sendable {
    private static let limit = 4 << 20
    /// The file that is written to, kept open: opening it for each piece costs more than writing the piece.
    private final class Open {
        private let file: Descriptor
        private(set) var size: Int

        init(_ path: String) throws(SystemError) {
            file = try Descriptor.open(path, O_WRONLY | O_CREAT | O_APPEND)
            size = Int(try FileStatus(path).size)
        }

        func append(_ line: [UInt8]) throws(SystemError) {
            try file.writeAll(line)
            size += line.count
        }
    }
    private let path: String
    private let open = Monitor<Open?>(nil)

    init(directory: String) { path = "\(directory)/log" }

    /// Appends what arrived on a stream. A log that cannot be written must not stop the command.
    func append(exec: String, stream: String, bytes: [UInt8]) {
        let record = LogRecord(
            time: secondsSince1970(), exec: exec, stream: stream, text: String(decoding: bytes, as: UTF8.self)
        )
        guard let line = try? JSONEncoder().encode(record) else { return }
        open.with { open in
            if let size = open?.size, size > Self.limit {
                try? Files.rename(path, "\(path).1")
                open = nil
            }
            if open == nil { open = try? Open(path) }
            try? open?.append(Array(line) + [10])
        }
    }

    /// Every record kept, oldest first.
    func records() -> [LogRecord] {
        let decoder = JSONDecoder()
        return open.with { _ in
            ["\(path).1", path].flatMap { file in
                ((try? Files.read(file)) ?? []).split(separator: 10).compactMap {
                    try? decoder.decode(LogRecord.self, from: FoundationEssentials.Data($0))
                }
            }
        }
    }
}

/// The wall clock, in seconds.
func secondsSince1970() -> Double {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
}

/// What CLOCK_BOOTTIME shows here, in seconds.
func secondsSinceBoot() -> Double {
    var now = timespec()
    clock_gettime(CLOCK_BOOTTIME, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
}

/// Milliseconds from an instant of CLOCK_MONOTONIC to now.
func milliseconds(since start: UInt64) -> Double {
    Double(monotonicNanoseconds() - start) / 1e6
}
