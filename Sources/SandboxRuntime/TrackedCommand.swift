import CLinux
import LinuxSystem
import Messages

/// What the server knows of one command of a sandbox: between the connection's reader and a follower.
final class TrackedCommand: Sendable {
    enum Attention {
        /// Somebody reads its events.
        case followed
        /// Nobody does, since then: PID 1 keeps what it has for who may come back.
        case idle(since: UInt64)
        /// Nobody came back: its output goes to the log alone.
        case drained
    }

    struct Output {
        /// The next byte to come from PID 1.
        var received: UInt64 = 0
        /// What the follower does not need any more, and how much of it PID 1 has been told.
        var acknowledged: UInt64 = 0
        var told: UInt64 = 0
    }

    struct Input {
        /// The offset of the first byte of `pending`; PID 1 has taken all before it.
        var taken: UInt64 = 0
        var pending: [UInt8] = []
        /// Sent so far on this connection, and how far PID 1 has room; nil until it has said so.
        var sent: UInt64 = 0
        var limit: UInt64?
        var end: UInt64?
        var endSent = false
        /// `taken` as the follower knows it.
        var reported: UInt64 = 0
    }

    struct State {
        var attention: Attention
        var started = false
        var failure: CommandError?
        var exit: ckpt_exit?
        /// When it ended, by CLOCK_MONOTONIC in nanoseconds; 0 while it has not.
        var ended: UInt64 = 0
        var outputs = [Output(), Output()]
        var input = Input()
        var events: [(stream: OutputStream, offset: UInt64, bytes: [UInt8])] = []
        var nextEvent = 0
        /// Bytes in `events` that the follower has not taken.
        var queued = 0
        var detached = false

        var isOver: Bool { exit != nil || failure != nil }
        mutating func dropEvents() {
            events.removeAll()
            nextEvent = 0
            queued = 0
        }
    }

    let id: String
    /// Its number on every connection of this server.
    let tag: UInt32
    /// What it was started with; nil for one that was found running.
    let spec: CommandSpec?
    /// When it became known here, by CLOCK_MONOTONIC in nanoseconds.
    let since = monotonicNanoseconds()
    let state: Monitor<State>

    /// Bytes that may pile up before PID 1 is told: its ring holds four times as many.
    static let acknowledgeEvery: UInt64 = 16384

    init(id: String, tag: UInt32, spec: CommandSpec?, attention: Attention, from: (UInt64, UInt64) = (0, 0)) {
        self.id = id
        self.tag = tag
        self.spec = spec
        var first = State(attention: attention)
        for (index, offset) in [from.0, from.1].enumerated() {
            first.outputs[index] = Output(received: offset, acknowledged: offset, told: 0)
        }
        state = Monitor(first)
    }

    // MARK: From the reader

    /// PID 1 knows the command now and has taken this much of its stdin.
    func started(stdinTaken: UInt64) {
        state.with(wake: true) {
            if !$0.started || $0.input.limit == nil {
                // What was sent on an earlier connection and did not arrive is sent again.
                Self.take($0.input.taken > stdinTaken ? $0.input.taken : stdinTaken, &$0.input)
                $0.input.sent = $0.input.taken
                $0.input.endSent = false
                if !$0.started { $0.input.reported = $0.input.taken }
            }
            $0.started = true
        }
    }

    func failed(_ error: CommandError) {
        state.with(wake: true) { if !$0.isOver { $0.failure = error } }
    }

    func exited(_ exit: ckpt_exit, now: UInt64) {
        state.with(wake: true) {
            $0.exit = exit
            $0.ended = now
            $0.started = true
            $0.input.pending = []
            if case .followed = $0.attention { return }
            $0.attention = .idle(since: now)  // who started it may still want to know
        }
    }

    /// It ended while nobody was told, neither we nor a follower.
    func exitedUnheard(_ exit: ckpt_exit) {
        state.with { if case .idle = $0.attention { $0.exit = exit } }
    }

    /// Takes output in; returns what was new, and the acknowledgement that is due when nobody follows.
    func received(
        _ stream: OutputStream, offset: UInt64, _ bytes: [UInt8]
    ) throws(CommandError) -> (new: [UInt8], acknowledgement: [UInt8]) {
        try state.with(wake: true) { (state) throws(CommandError) in
            let index = stream.index
            let end = offset + UInt64(bytes.count)
            // PID 1 has not heard yet that nobody follows, and keeps it for who may come back.
            if case .idle = state.attention { return ([], []) }
            let known = state.outputs[index].received
            guard end > known else {
                // Printed again after a rollback. Without a word PID 1 would wait for room once its ring is full.
                guard end <= state.outputs[index].acknowledged else { return ([], []) }
                return ([], InitFrame.encode(CKPT_ACK, tag: tag, stream: index + 1, offset: end))
            }
            let new = offset < known ? Array(bytes[Int(known - offset)...]) : bytes
            state.outputs[index].received = end
            if case .followed = state.attention {
                // PID 1 never runs further ahead of our word than its ring, of each stream.
                guard state.queued + new.count <= 2 * CKPT_INIT_RING else { throw .garbage }
                state.queued += new.count
                state.events.append((stream, end - UInt64(new.count), new))
                return (new, [])
            }
            state.outputs[index].acknowledged = end
            return (
                new,
                Self.acknowledgement(tag: tag, stream, &state.outputs[index], every: Self.acknowledgeEvery)
            )
        }
    }

    /// PID 1 has taken stdin up to `offset` and has room for `room` bytes more.
    func stdinTaken(_ offset: UInt64, room: UInt32, _ wire: InitWire) {
        state.with(wake: true) {
            Self.take(offset, &$0.input)
            $0.input.limit = offset + UInt64(room)
            pump(&$0.input, wire)
        }
    }

    // MARK: For the follower

    /// Hands stdin over and sends what PID 1 has room for.
    func write(offset: UInt64, _ bytes: [UInt8], _ wire: InitWire) throws(CommandError) {
        try state.with { (state) throws(CommandError) in
            if state.isOver { return }
            let end = state.input.taken + UInt64(state.input.pending.count)
            guard offset <= end else { throw .badRequest("stdin has a gap: \(offset) follows \(end)") }
            let known = end - offset
            guard known < UInt64(bytes.count) else { return }
            guard state.input.end == nil else { throw .badRequest("stdin has ended already") }
            state.input.pending += bytes[Int(known)...]
            pump(&state.input, wire)
        }
    }

    func closeStdin(_ wire: InitWire) {
        state.with {
            guard !$0.isOver, $0.input.end == nil else { return }
            $0.input.end = $0.input.taken + UInt64($0.input.pending.count)
            pump(&$0.input, wire)
        }
    }

    func acknowledge(_ stream: OutputStream, upTo offset: UInt64) -> [UInt8] {
        state.with {
            let index = stream.index
            $0.outputs[index].acknowledged = max(
                $0.outputs[index].acknowledged, min(offset, $0.outputs[index].received))
            return Self.acknowledgement(tag: tag, stream, &$0.outputs[index], every: Self.acknowledgeEvery)
        }
    }

    /// The frames PID 1 needs to know all that was acknowledged.
    func outstandingAcknowledgements() -> [UInt8] {
        state.with {
            Self.acknowledgement(tag: tag, .stdout, &$0.outputs[0], every: 1)
                + Self.acknowledgement(tag: tag, .stderr, &$0.outputs[1], every: 1)
        }
    }

    // MARK: Frames

    /// Takes it up again on a new connection.
    func reattach() -> [UInt8] {
        state.with {
            $0.input.limit = nil
            for index in 0..<2 { $0.outputs[index].told = 0 }
            return InitFrame.attach(id: id, tag: tag, from: ($0.outputs[0].received, $0.outputs[1].received))
        } + outstandingAcknowledgements()
    }

    /// Starts it, or takes up the one that has its id.
    func spawn(_ spec: CommandSpec) -> [UInt8] {
        let from = state.with { ($0.outputs[0].received, $0.outputs[1].received) }
        return InitFrame.spawn(spec, tag: tag, from: from) + outstandingAcknowledgements()
    }

    private static func acknowledgement(
        tag: UInt32, _ stream: OutputStream, _ output: inout Output, every: UInt64
    ) -> [UInt8] {
        guard output.acknowledged >= output.told + every else { return [] }
        output.told = output.acknowledged
        return InitFrame.encode(CKPT_ACK, tag: tag, stream: stream.index + 1, offset: output.told)
    }

    private static func take(_ offset: UInt64, _ input: inout Input) {
        guard offset > input.taken else { return }
        input.pending.removeFirst(min(input.pending.count, Int(offset - input.taken)))
        input.taken = offset
        input.sent = max(input.sent, offset)
    }

    private func pump(_ input: inout Input, _ wire: InitWire) {
        guard let limit = input.limit else { return }
        let end = input.taken + UInt64(input.pending.count)
        let stop = min(limit, end)
        if stop > input.sent {
            let part = input.pending[Int(input.sent - input.taken)..<Int(stop - input.taken)]
            if wire.send(InitFrame.encode(CKPT_STDIN, tag: tag, offset: input.sent, payload: part)) {
                input.sent = stop
            }
        }
        if let last = input.end, input.sent >= last, !input.endSent {
            input.endSent = wire.send(InitFrame.encode(CKPT_STDIN_END, tag: tag, offset: last))
        }
    }
}

extension OutputStream {
    var index: Int { self == .stdout ? 0 : 1 }
}
