import LinuxSystem
import Messages

/// The stdin of an exec stream that the server has not acknowledged: at most `ExecFrame.stdinWindow` bytes.
final class StdinBuffer: Sendable {
    private struct State {
        /// Unacknowledged bytes; the first is at offset `base` of the stream.
        var kept: [UInt8] = []
        var base: UInt64 = 0
        /// How many of `kept` this connection has been sent.
        var sent = 0
        var closed: Bool
        var endSent: Bool
        /// Whether the server is told about stdin at all.
        let interactive: Bool
        /// The stream is over: nothing is taken or sent any more.
        var ended = false
        var size: (rows: UInt16, columns: UInt16)?
    }
    private let state: Monitor<State>

    init(interactive: Bool) {
        state = Monitor(State(closed: !interactive, endSent: !interactive, interactive: interactive))
    }

    /// Takes what fits, waiting for at least one byte of room; nil once the stream has ended.
    func append(_ bytes: ArraySlice<UInt8>) -> Int? {
        state.wait { state -> Int?? in
            if state.ended || state.closed { return .some(nil) }
            let room = ExecFrame.stdinWindow - state.kept.count
            guard room > 0 else { return nil }
            let taken = min(room, bytes.count)
            state.kept += bytes.prefix(taken)
            return taken
        } ?? nil
    }

    /// Nothing more comes.
    func close() { state.with(wake: true) { $0.closed = true } }

    /// The stream is over.
    func end() { state.with(wake: true) { $0.ended = true } }

    /// Everything before `offset` has arrived.
    func acknowledge(upTo offset: UInt64) {
        state.with(wake: true) { state in
            guard offset > state.base else { return }
            let count = min(Int(clamping: offset - state.base), state.kept.count)
            state.kept.removeFirst(count)
            state.base += UInt64(count)
            state.sent = max(0, state.sent - count)
        }
    }

    /// Goes on from what a new connection's server has; false once the stream has ended.
    ///
    /// A first connection may start beyond zero: the command was another client's before.
    func resume(at offset: UInt64) throws(ErrorMessage) -> Bool {
        try state.with(wake: true) { (state) throws(ErrorMessage) in
            if state.base == 0 && state.kept.isEmpty { state.base = offset }
            let end = state.base + UInt64(state.kept.count)
            guard state.base <= offset, offset <= end else {
                throw ErrorMessage(
                    .internal,
                    "stdin cannot go on: the sandbox has \(offset) bytes of \(state.base) to \(end)")
            }
            state.kept.removeFirst(Int(offset - state.base))
            state.base = offset
            state.sent = 0
            state.endSent = !state.interactive
            return !state.ended
        }
    }

    /// The next frame to send on this connection: unsent bytes, then the end of stdin.
    func nextFrame() -> [UInt8]? {
        state.with { state in
            if state.ended { return nil }
            if state.sent < state.kept.count {
                let part = state.kept[state.sent...].prefix(64 << 10)
                let offset = state.base + UInt64(state.sent)
                state.sent += part.count
                return ExecFrame.encode(ExecFrame.FromClient.stdin.rawValue, offset: offset, part)
            }
            guard state.closed, !state.endSent else { return nil }
            state.endSent = true
            return ExecFrame.encode(ExecFrame.FromClient.stdinEnd.rawValue, [])
        }
    }

    /// Remembers the terminal's size for the next connection.
    func size(rows: UInt16, columns: UInt16) { state.with { $0.size = (rows, columns) } }

    var lastSize: (rows: UInt16, columns: UInt16)? { state.with { $0.size } }
}
