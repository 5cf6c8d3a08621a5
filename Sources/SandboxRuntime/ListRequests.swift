import CLinux
import LinuxSystem

/// The requests for a list on one channel: never more than one is under way.
///
/// PID 1 answers two that it reads at once with one list, and one whose connection is dropped not at all. Who asks
/// while one is under way waits for the next, for the answer must not be older than the question.
final class ListRequests: Sendable {
    private struct State {
        /// How many have been asked for, and how many of these are answered.
        var asked = 0
        var answered = 0
        /// Whether somebody is about to send, and how many questions the request on its way answers.
        var isSending = false
        var underWay: Int?
        var arriving = SandboxListing()
        var last: SandboxListing?
        var failure: CommandError?
    }

    /// What is left to do for who asks.
    private enum Turn {
        case take(SandboxListing)
        case send
        case fail(CommandError)
    }

    // Taken with the wire's lock held, and never the other way round.
    private let state = Monitor(State())

    /// The last list that came, however old.
    var last: SandboxListing? { state.with { $0.last } }

    /// A list that is no older than this call.
    func list(_ wire: InitWire, deadline: UInt64) throws(CommandError) -> SandboxListing {
        let number = state.with { state in
            state.asked += 1
            return state.asked
        }
        while true {
            let turn = state.wait(until: deadline) { state -> Turn? in
                if let failure = state.failure { return .fail(failure) }
                if state.answered >= number, let listing = state.last { return .take(listing) }
                guard state.underWay == nil, !state.isSending else { return nil }
                state.isSending = true
                return .send
            }
            switch turn {
            case .take(let listing): return listing
            case .fail(let error): throw error
            case .send: try send(wire, deadline)
            case nil: throw .noAnswer
            }
        }
    }

    private func send(_ wire: InitWire, _ deadline: UInt64) throws(CommandError) {
        defer { state.with(wake: true) { $0.isSending = false } }
        try wire.sendWhenUp(InitFrame.encode(CKPT_LIST), deadline: deadline) {
            self.state.with { $0.underWay = $0.asked }
        }
        // Who reads may be standing back for a follower that has just left.
        wire.ring()
    }

    /// A connection is about to be taken into use: what was asked on another is asked again.
    func reconnected(_ listing: SandboxListing) {
        state.with(wake: true) { state in
            state.underWay = nil
            state.arriving = SandboxListing()
            state.last = listing
            state.failure = nil
        }
    }

    /// Nothing will be answered any more.
    func fail(_ reason: CommandError) { state.with(wake: true) { $0.failure = reason } }

    /// Takes one frame of a list in.
    func take(_ frame: ckpt_frame, _ payload: [UInt8]) throws(CommandError) {
        let isEnd = Int(frame.type) == CKPT_LIST_END
        try state.with(wake: isEnd) { (state) throws(CommandError) in
            guard isEnd else {
                guard try state.arriving.take(frame, payload) else { throw .garbage }
                return
            }
            state.answered = max(state.answered, state.underWay ?? 0)
            state.underWay = nil
            state.last = state.arriving
            state.arriving = SandboxListing()
        }
    }
}
