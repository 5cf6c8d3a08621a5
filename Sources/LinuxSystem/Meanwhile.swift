/// Work that a thread of its own does meanwhile.
public final class Meanwhile<Value: Sendable, Failure: Error>: Sendable {
    private let outcome = Monitor<Result<Value, Failure>?>(nil)

    /// Begins it.
    public init(_ work: @escaping @Sendable () throws(Failure) -> Value) {
        startThread { [outcome] in
            let result = Result { () throws(Failure) in try work() }
            outcome.with(wake: true) { $0 = result }
        }
    }

    /// Waits for its end, as often as one likes; what it returned or threw.
    @discardableResult
    public func wait() throws(Failure) -> Value { try outcome.wait({ $0 })!.get() }
}
