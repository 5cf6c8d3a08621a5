import Glibc
import LinuxSystem
public import Messages

/// The last events, numbered, for any number of readers.
///
/// Nobody waits for a reader: each has a number up to which it has read, and one that falls behind by more than
/// `capacity` is told how many it missed. Numbers begin where the clock says, in thousandths of a millisecond since
/// 1970, so that those of a later server are larger and still whole in a JSON number (below 2^53).
public final class EventRing: Sendable {
    /// How many events are kept.
    public static let capacity = 4096

    private final class Slot: Sendable {
        let event: Event
        init(_ event: Event) { self.event = event }
    }

    private struct State {
        /// The event with number n is at n modulo the capacity.
        var slots: [Slot?]
        let first: UInt64
        var next: UInt64
        var isClosed = false

        /// The lowest number that is kept.
        var oldest: UInt64 {
            next - first > UInt64(EventRing.capacity) ? next - UInt64(EventRing.capacity) : first
        }
    }
    private let state: Monitor<State>

    /// An empty ring whose first number is by the clock.
    public convenience init() { self.init(first: UInt64(realtimeSeconds() * 1000) * 1000) }

    /// An empty ring with a first number.
    init(first: UInt64) {
        state = Monitor(State(slots: Array(repeating: nil, count: Self.capacity), first: first, next: first))
    }

    /// Numbers and dates an event, keeps it and wakes the readers; the event as it is now.
    @discardableResult
    public func append(_ event: Event) -> Event {
        var event = event
        event.time = realtimeSeconds()
        return state.with(wake: true) { state in
            event.id = state.next
            state.slots[Int(state.next % UInt64(Self.capacity))] = Slot(event)
            state.next += 1
            return event
        }
    }

    /// The number of the last event; a reader that starts after it gets what is yet to happen.
    public var last: UInt64 { state.with { $0.next - 1 } }

    /// What a reader gets.
    public enum Reading: Sendable {
        /// Events in order, at least one.
        case events([Event])
        /// Events after its number are gone: it goes on after `next`. `count` is nil where nobody knows how many, after
        /// a number that this server did not give.
        case missed(count: Int?, next: UInt64)
        /// Nothing until the deadline.
        case nothing
        /// The server ends: there will be no more.
        case closed
    }

    /// The events after a number, some hundred at most; waits for one until the deadline (nanoseconds of
    /// CLOCK_MONOTONIC).
    public func read(after last: UInt64, until deadline: UInt64) -> Reading {
        state.wait(until: deadline) { state -> Reading? in
            if last >= state.next { return .missed(count: nil, next: state.oldest - 1) }
            if last + 1 < state.oldest {
                let count = last + 1 < state.first ? nil : Int(state.oldest - last - 1)
                return .missed(count: count, next: state.oldest - 1)
            }
            if last + 1 == state.next { return state.isClosed ? .closed : nil }
            let end = min(state.next, last + 1 + 256)
            return .events(
                (last + 1..<end).compactMap { state.slots[Int($0 % UInt64(Self.capacity))]?.event })
        } ?? .nothing
    }

    /// Ends every reader, once it has read all.
    public func close() { state.with(wake: true) { $0.isClosed = true } }
}

/// Seconds since 1970.
public func realtimeSeconds() -> Double {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
}
