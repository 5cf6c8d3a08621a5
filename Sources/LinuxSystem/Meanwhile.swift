/// Work that a thread of its own does meanwhile.
public final class Meanwhile<Failure: Error>: Sendable {
    private let outcome = Monitor<Result<Void, Failure>?>(nil)

    /// Begins it.
    public init(_ work: @escaping @Sendable () throws(Failure) -> Void) {
        startThread { [outcome] in
            let result = Result { () throws(Failure) in try work() }
            outcome.with(wake: true) { $0 = result }
        }
    }

    /// Waits for its end, as often as one likes; throws what it threw.
    public func wait() throws(Failure) { try outcome.wait({ $0 })!.get() }
}
