import LinuxSystem
import Messages

/// A command of whose output only so much of each stream is passed on, the rest is read and dropped, and whose end is
/// told apart when memory ran out.
final class LimitedCommand: AttachedCommand {
    private let command: any AttachedCommand
    private let limit: UInt64
    private let truncated = Monitor(false)

    private let watch: OOMWatch

    init(_ command: any AttachedCommand, limit: UInt64, watch: OOMWatch) {
        self.command = command
        self.limit = limit
        self.watch = watch
    }

    var id: String { command.id }
    var stdinOffset: UInt64 { command.stdinOffset }

    func next(deadline: UInt64?) -> AttachedEvent? {
        while true {
            let event = command.next(deadline: deadline)
            switch event {
            case .output(let stream, let offset, let bytes):
                let end = offset + UInt64(bytes.count)
                if end <= limit { return event }
                truncated.with { $0 = true }
                if offset < limit {
                    return .output(stream, offset: offset, bytes: Array(bytes.prefix(Int(limit - offset))))
                }
                command.acknowledge(stream, upTo: end)
            case .exited(var result):
                result.truncated = truncated.with { $0 }
                result.oomKilled = watch.sawKill(of: result)
                return .exited(result)
            default: return event
            }
        }
    }

    func acknowledge(_ stream: OutputStream, upTo offset: UInt64) {
        // What was cut off the last piece went by as well.
        command.acknowledge(stream, upTo: offset == limit ? .max : offset)
    }

    func write(offset: UInt64, _ bytes: [UInt8]) throws(ErrorMessage) {
        try command.write(offset: offset, bytes)
    }

    func closeStdin() throws(ErrorMessage) { try command.closeStdin() }
    func signal(_ number: Int32) throws(ErrorMessage) { try command.signal(number) }
    func resize(rows: UInt16, columns: UInt16) throws(ErrorMessage) {
        try command.resize(rows: rows, columns: columns)
    }
    func detach() { command.detach() }
}
