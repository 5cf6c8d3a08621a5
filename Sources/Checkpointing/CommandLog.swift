import FoundationEssentials
import Glibc
import LinuxSystem
import Messages

/// What the commands of a sandbox have printed, for `ckpt logs`: bounded, and not part of any snapshot.
///
/// Records are JSON lines in `ROOT/sandboxes/NAME/log`; at 4 MiB the file becomes `log.1`, and the one before goes.
final class CommandLog: Sendable {
    private static let limit = 4 << 20
    private let path: String
    private let size = Monitor<Int?>(nil)

    init(directory: String) { path = "\(directory)/log" }

    /// Appends what arrived on a stream. A log that cannot be written must not stop the command.
    func append(exec: String, stream: String, bytes: [UInt8]) {
        let record = LogRecord(
            time: secondsSince1970(), exec: exec, stream: stream, text: String(decoding: bytes, as: UTF8.self)
        )
        guard let line = try? JSONEncoder().encode(record) else { return }
        size.with { size in
            let before = size ?? Int((try? FileStatus(path))?.size ?? 0)
            if before > Self.limit { try? Files.rename(path, "\(path).1") }
            let file = try? Descriptor.open(path, O_WRONLY | O_CREAT | O_APPEND)
            try? file?.writeAll(Array(line) + [10])
            size = before > Self.limit ? line.count : before + line.count
        }
    }

    /// Every record kept, oldest first.
    func records() -> [LogRecord] {
        let decoder = JSONDecoder()
        return size.with { _ in
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
