import Synchronization

/// How much of something is done, counted by one thread and read by another.
public final class WorkCount: Sendable {
    private let count = Atomic<Int64>(0)

    /// Nothing done yet.
    public init() {}

    /// Adds to it.
    public func add(_ amount: Int64) { count.add(amount, ordering: .relaxed) }

    public var value: Int64 { count.load(ordering: .relaxed) }
}
