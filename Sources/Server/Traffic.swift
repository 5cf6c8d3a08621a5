import Glibc
import LinuxSystem

/// Which connections, requests and exec streams there are, so that a shutdown loses nothing.
///
/// A shutdown closes the reading half of every connection between two requests: what a client had sent until
/// then is still read (and refused in words), what it sends afterwards fails at its own end. So no client is
/// left wondering whether its request was done. Connections with a request in progress follow when that has
/// been answered, for a closed reading half would look as if the client had gone.
final class Traffic: Sendable {
    private struct State {
        var closing = false
        /// Whether what comes after the closing is refused; else it is done.
        var refusing = false
        var requests = 0
        /// How many of the requests do nothing but wait.
        var waits = 0
        /// The sockets of exec streams that run.
        var streams: Set<Int32> = []
        /// All connections' sockets, and those without a request in progress.
        var connections: Set<Int32> = []
        var idle: Set<Int32> = []
    }
    private let state = Monitor(State())

    /// How many connections there are.
    var connectionCount: Int { state.with { $0.connections.count } }

    /// A connection was accepted.
    func opened(_ socket: Int32) {
        state.with { state in
            state.connections.insert(socket)
            Traffic.rest(socket, &state)
        }
    }

    /// A connection's socket is about to be closed.
    func closed(_ socket: Int32) {
        state.with(wake: true) { state in
            state.connections.remove(socket)
            state.idle.remove(socket)
        }
    }

    /// Counts a request in; false during a shutdown.
    func beginRequest(_ socket: Int32) -> Bool {
        state.with { state in
            guard !state.refusing else { return false }
            state.idle.remove(socket)
            state.requests += 1
            return true
        }
    }

    /// Notes that a request that was counted in waits for something, and need not be waited for.
    func beginWait() { state.with(wake: true) { $0.waits += 1 } }

    /// Counts a request out, answered or not.
    func endRequest(_ socket: Int32, wait: Bool) {
        state.with(wake: true) { state in
            state.requests -= 1
            if wait { state.waits -= 1 }
            Traffic.rest(socket, &state)
        }
    }

    private static func rest(_ socket: Int32, _ state: inout State) {
        if state.closing { shutdown(socket, Int32(SHUT_RD)) } else { state.idle.insert(socket) }
    }

    /// Counts an exec stream in; false during a shutdown.
    func beginStream(_ socket: Int32) -> Bool {
        state.with { state in
            guard !state.closing else { return false }
            state.streams.insert(socket)
            return true
        }
    }

    /// Counts an exec stream out; its socket may be closed only afterwards.
    func endStream(_ socket: Int32) { state.with(wake: true) { _ = $0.streams.remove(socket) } }

    /// Lets nothing new in and breaks off the exec streams, whose clients attach again elsewhere.
    ///
    /// What a client had sent by then is refused in words, or done where another server takes this one's place: its
    /// client shall not notice.
    func close(refusing: Bool = true) {
        state.with { state in
            state.closing = true
            state.refusing = refusing
            state.streams.forEach { shutdown($0, Int32(SHUT_RDWR)) }
            state.idle.forEach { shutdown($0, Int32(SHUT_RD)) }
            state.idle = []
        }
    }

    /// Waits until no connection is left; the number of requests that still run at `deadline`.
    ///
    /// From `patience` on, it is enough that what still runs only waits. Both are in nanoseconds of CLOCK_MONOTONIC.
    func drain(until deadline: UInt64, patience: UInt64 = .max) -> Int {
        if patience < deadline, state.wait(until: patience, { $0.connections.isEmpty ? true : nil }) == nil {
            _ = state.wait(until: deadline) { $0.requests <= $0.waits ? true : nil }
        } else {
            _ = state.wait(until: deadline) { $0.connections.isEmpty ? true : nil }
        }
        return state.with { $0.requests }
    }
}
