import Glibc
import LinuxSystem
public import Messages

/// An operation that may take long, and then tells how far it has come in events of kind `progress`.
///
/// Nothing is told of one that ends within a moment: a short one costs two turns of a lock. What is done is looked up
/// on a thread that all of them share, never on the operation's own.
public final class LongOperation: Sendable {
    /// Says how much of a phase is done, and of how much where that is known; called on another thread.
    public typealias Look = @Sendable () -> (done: Int64, total: Int64?)

    private struct State {
        var phase = ""
        var unit = ProgressUnit.items
        var look: Look?
        var isTold = false
        var due: UInt64
        var hasEnded = false
    }
    /// From when on it is told of, and how often then, in nanoseconds; longer ones less often after a while.
    static let patience: UInt64 = 300_000_000
    private static let often: UInt64 = 200_000_000
    private static let seldom: UInt64 = 1_000_000_000
    private static let oftenFor: UInt64 = 10_000_000_000

    let task: UInt64
    private let telemetry: Telemetry
    private let operation: String
    private let sandbox: String?
    private let snapshot: String?
    private let began = monotonicNanoseconds()
    private let state: Monitor<State>
    /// Its last event is the one that says so.
    private let telling = Monitor(())

    init(_ telemetry: Telemetry, task: UInt64, _ operation: String, _ sandbox: String?, _ snapshot: String?) {
        (self.telemetry, self.task, self.operation) = (telemetry, task, operation)
        (self.sandbox, self.snapshot) = (sandbox, snapshot)
        state = Monitor(State(due: began + Self.patience))
    }

    /// Begins a part of the work; without `look` only its name is known.
    public func phase(_ name: String, in unit: ProgressUnit = .items, _ look: Look? = nil) {
        state.with { state in (state.phase, state.unit, state.look) = (name, unit, look) }
    }

    /// Ends it, well or not; readers that were told of it are told so.
    public func end() {
        telemetry.ended(self)
        telling.with { _ in
            let last = state.with { state -> State in
                state.hasEnded = true
                return state
            }
            if last.isTold { tell(last, ended: true) }
        }
    }

    /// Tells of it where that is due.
    func tick(_ now: UInt64) {
        telling.with { _ in
            let due = state.with { state -> State? in
                guard !state.hasEnded, now >= state.due else { return nil }
                state.isTold = true
                state.due = now + (now - began < Self.oftenFor ? Self.often : Self.seldom)
                return state
            }
            if let due { tell(due, ended: false) }
        }
    }

    private func tell(_ state: State, ended: Bool) {
        let (done, total) = state.look?() ?? (0, nil)
        telemetry.emit(.progress) { event in
            (event.operation, event.sandbox, event.snapshot) = (operation, sandbox, snapshot)
            event.progress = ProgressInfo(
                task: task, phase: state.phase, done: done, total: total.map { max($0, done) },
                unit: state.unit, elapsedMs: Double(monotonicNanoseconds() - began) / 1e6, ended: ended)
        }
    }
}

/// The operations under way, and the thread that looks at them.
struct OperationsUnderWay {
    var operations: [UInt64: LongOperation] = [:]
    var lastTask: UInt64 = 0
    var isWatched = false
}

extension Telemetry {
    /// Begins an operation, which its caller must end; `operation` is its name in the API.
    public func began(_ operation: String, sandbox: String? = nil, snapshot: String? = nil) -> LongOperation {
        let (begun, starts) = underWay.with(wake: true) { state -> (LongOperation, Bool) in
            state.lastTask += 1
            let begun = LongOperation(self, task: state.lastTask, operation, sandbox, snapshot)
            state.operations[begun.task] = begun
            defer { state.isWatched = true }
            return (begun, !state.isWatched)
        }
        if starts { startThread { self.watchOperations() } }
        return begun
    }

    func ended(_ operation: LongOperation) { underWay.with { $0.operations[operation.task] = nil } }

    /// Sleeps while there is nothing to look at, and else wakes a few times in a second.
    private func watchOperations() {
        while true {
            // A new operation is of no interest yet, so nothing need wake it from this.
            usleep(100_000)
            let all = underWay.wait { $0.operations.isEmpty ? nil : Array($0.operations.values) } ?? []
            let then = monotonicNanoseconds()
            for operation in all { operation.tick(then) }
        }
    }
}
