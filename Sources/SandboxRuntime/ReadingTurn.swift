import LinuxSystem

/// Whose turn it is to read one connection to PID 1: that of the thread which was started for it, or that of a
/// follower which would wait for what comes anyway and is spared a wake-up by its reading itself.
///
/// The thread stands back as long as followers come and go, and looks again by itself soon after the last.
final class ReadingTurn: Sendable {
    enum Holder { case nobody, thread, follower }

    private struct State {
        var holder = Holder.nobody
        /// When a follower last had it, by CLOCK_MONOTONIC in nanoseconds.
        var lastFollower: UInt64 = 0
        /// How many wait for the thread or another follower to read for them.
        var waiting = 0
        var isOver = false
    }

    /// How long the thread stands back after a follower, in nanoseconds.
    static let courtesy: UInt64 = 2_000_000
    /// Longest that a follower reads for itself, in nanoseconds: some of what it waits for does not come from PID 1.
    static let stint: UInt64 = 20_000_000

    let socket: Int32
    /// What has come and is no whole frame yet; only for who has the turn.
    nonisolated(unsafe) var frames: InitFrameReader
    /// Why it ended, where a follower saw that; only for who has the turn.
    nonisolated(unsafe) var problem: CommandError?
    private let state = Monitor(State())

    init(socket: Int32, frames: InitFrameReader) {
        self.socket = socket
        self.frames = frames
    }

    /// Whether the thread is to stand back for now: not where somebody waits for it.
    var isFollowersTurn: Bool {
        state.with {
            $0.holder == .follower
                || $0.waiting == 0 && $0.lastFollower + Self.courtesy > monotonicNanoseconds()
        }
    }

    /// Takes the turn if nobody has it and the connection has not ended.
    func take(_ holder: Holder) -> Bool {
        state.with {
            guard $0.holder == .nobody, !$0.isOver else { return false }
            $0.holder = holder
            return true
        }
    }

    /// Gives a follower's turn back; whether somebody else waits for what comes.
    func leave() -> Bool {
        state.with(wake: true) {
            $0.holder = .nobody
            $0.lastFollower = monotonicNanoseconds()
            return $0.waiting > 0 || $0.isOver
        }
    }

    /// Gives the thread's turn back.
    func release() { state.with { $0.holder = .nobody } }

    /// Notes that the connection has ended: nobody takes the turn any more.
    func end() { state.with(wake: true) { $0.isOver = true } }
    var isOver: Bool { state.with { $0.isOver } }

    /// Waits until no follower reads, once it is over: the socket can be closed.
    func waitUntilFree() {
        state.wait { $0.holder == .follower ? nil : () }
    }

    /// Counts in somebody who waits for what others read; whether nobody has the turn, so that the thread is to be
    /// called.
    func beginWaiting() -> Bool {
        state.with {
            $0.waiting += 1
            return $0.holder == .nobody
        }
    }

    func endWaiting() { state.with { $0.waiting -= 1 } }
}
