/// Work that a thread of its own does meanwhile.
public final class Meanwhile<Value: Sendable, Failure: Error>: Sendable {
    private let outcome = Monitor<Result<Value, Failure>?>(nil)
    /// Whether somebody waits for it.
    private let isWanted = Monitor(false)

    /// Begins it.
    public init(_ work: @escaping @Sendable () throws(Failure) -> Value) {
        startThread { [outcome] in
            let result = Result { () throws(Failure) in try work() }
            outcome.with(wake: true) { $0 = result }
        }
    }

    /// Begins it after so many nanoseconds, for others have the processors first, or as soon as somebody waits for it; never
    /// where nobody can any more by then.
    public init(after delay: UInt64, _ work: @escaping @Sendable () throws(Failure) -> Value) {
        startThread { [weak self, isWanted, outcome] in
            let isAsked = isWanted.wait(until: monotonicNanoseconds() + delay) { $0 ? () : nil } != nil
            guard isAsked || self != nil else { return }
            let result = Result { () throws(Failure) in try work() }
            outcome.with(wake: true) { $0 = result }
        }
    }

    /// Waits for its end, as often as one likes; what it returned or threw.
    @discardableResult
    public func wait() throws(Failure) -> Value {
        isWanted.with(wake: true) { $0 = true }
        return try outcome.wait({ $0 })!.get()
    }
}
