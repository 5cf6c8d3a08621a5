import CLinux
import Glibc
import LinuxSystem
public import Messages

/// One command of a sandbox and the one who follows it.
///
/// Dropping it stops following, as `detach` does: the command runs on.
public final class RunningCommand: FollowedCommand {
    private let command: TrackedCommand
    private let channel: CommandChannel

    /// How long a signal or a resize waits for a sandbox that is being saved, in nanoseconds.
    static let patience: UInt64 = 60_000_000_000

    init(_ command: TrackedCommand, on channel: CommandChannel) {
        self.command = command
        self.channel = channel
    }

    deinit { detach() }

    public var id: String { command.id }

    public var stdinOffset: UInt64 {
        if command.spec?.announced == false { return 0 }
        return (try? waitUntilStarted(deadline: monotonicNanoseconds() + Self.patience)) ?? 0
    }

    /// Waits until PID 1 has started the command or found it; returns how much stdin had arrived.
    ///
    /// A program that cannot be executed is started in this sense: its exit code is 126 or 127.
    @discardableResult
    public func waitUntilStarted(deadline: UInt64) throws(CommandError) -> UInt64 {
        let result: Result<UInt64, CommandError>? = channel.follow(command, until: deadline) {
            if $0.started { return .success($0.input.reported) }
            return $0.failure.map { .failure($0) }
        }
        return try (result ?? .failure(.noAnswer)).get()
    }

    public func next(deadline: UInt64?) -> AttachedEvent? {
        let event: AttachedEvent?? = channel.follow(command, until: deadline) { [id] in
            if $0.detached { return .some(nil) }
            if $0.nextEvent < $0.events.count {
                let event = $0.events[$0.nextEvent]
                $0.nextEvent += 1
                $0.queued -= event.bytes.count
                if $0.nextEvent == $0.events.count { $0.dropEvents() }
                return .output(event.stream, offset: event.offset, bytes: event.bytes)
            }
            if $0.started, $0.input.taken > $0.input.reported {
                $0.input.reported = $0.input.taken
                return .stdinTaken(upTo: $0.input.taken)
            }
            if let failure = $0.failure { return .failed(failure.message) }
            return $0.exit.map { .exited(ExecResult(id: id, $0)) }
        }
        return event ?? nil
    }

    public func acknowledge(_ stream: OutputStream, upTo offset: UInt64) {
        let frame = command.acknowledge(stream, upTo: offset)
        if !frame.isEmpty { channel.wire.send(frame) }
    }

    public func write(offset: UInt64, _ bytes: [UInt8]) throws(ErrorMessage) {
        do { try command.write(offset: offset, bytes, channel.wire) } catch { throw error.message }
    }

    public func closeStdin() throws(ErrorMessage) {
        command.closeStdin(channel.wire)
    }

    public func signal(_ number: Int32) throws(ErrorMessage) {
        guard (1...64).contains(number) else {
            throw ErrorMessage(.badValue, "no signal has number \(number)")
        }
        try send(InitFrame.encode(CKPT_SIGNAL, tag: command.tag, value: UInt32(number)))
    }

    public func resize(rows: UInt16, columns: UInt16) throws(ErrorMessage) {
        try send(InitFrame.encode(CKPT_RESIZE, tag: command.tag, value: UInt32(rows) << 16 | UInt32(columns)))
    }

    public func detach() {
        channel.unfollow(command)
    }

    /// Says that its exit was delivered: PID 1 and the server forget it, and its id may be used anew. A
    /// command that still runs is forgotten when it ends, its output read and dropped from now on.
    public func forget() {
        channel.forget(command)
    }

    private func send(_ frame: [UInt8]) throws(ErrorMessage) {
        if command.state.with({ $0.isOver }) { return }
        do {
            try channel.wire.sendWhenUp(frame, deadline: monotonicNanoseconds() + Self.patience)
        } catch {
            throw error.message
        }
    }

}

extension ExecResult {
    /// The exit as the API tells it; the output is not in it.
    init(id: String, _ exit: ckpt_exit) {
        let signal = exit.status & 0x7f  // WTERMSIG(3)
        let timedOut = exit.flags & UInt32(CKPT_EXIT_TIMED_OUT) != 0
        let code = signal != 0 ? 128 + signal : exit.status >> 8 & 0xff
        self.init(
            id: id, exitCode: timedOut ? 124 : code, signal: signal != 0 && !timedOut ? signal : nil,
            timedOut: timedOut, durationMs: Double(exit.duration_ns) / 1_000_000)
    }
}
