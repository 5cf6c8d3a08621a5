import Glibc
import LinuxSystem

/// Which connections, requests and exec streams there are, so that a shutdown loses nothing.
///
/// A shutdown closes the reading half of every connection between two requests: what a client had sent until
/// then is still read (and refused in words), what it sends afterwards fails at its own end. So no client is
/// left wondering whether its request was done. Connections with a request in progress follow when that has
/// been answered, for a closed reading half would look as if the client had gone.
///
/// The same is done to make room for a further connection: clients that keep one, or that send a request slowly or
/// never to its end, lock nobody out. The one that has been silent for the longest goes first.
final class Traffic: Sendable {
    private struct State {
        var closing = false
        var requests = 0
        /// The sockets of exec streams that run.
        var streams: Set<Int32> = []
        /// All connections' sockets.
        var connections: Set<Int32> = []
        /// Those without a request in progress, and those whose request is not complete: the number of the event
        /// since which they have been so.
        var idle: [Int32: UInt64] = [:]
        var receiving: [Int32: UInt64] = [:]
        /// Those that were told to go and are still there, and those that are one too many.
        var leaving: Set<Int32> = []
        var surplus: Set<Int32> = []
        var events: UInt64 = 0
    }
    private let state = Monitor(State())
    private let limit: Int

    /// Nobody has come yet; more than `limit` connections are too many.
    init(limit: Int) { self.limit = limit }

    /// How many connections there are.
    var connectionCount: Int { state.with { $0.connections.count } }
    /// How many of them are between two requests.
    var idleCount: Int { state.with { $0.idle.count } }

    /// A connection was accepted.
    func opened(_ socket: Int32) {
        state.with { state in
            state.connections.insert(socket)
            Traffic.rest(socket, &state)
            if state.connections.count - state.leaving.count > limit { Traffic.makeRoom(for: socket, &state) }
        }
    }

    private static func makeRoom(for socket: Int32, _ state: inout State) {
        let oldest =
            silent(state.idle, but: socket, state.streams)
            ?? silent(state.receiving, but: socket, state.streams)
        guard let oldest else {
            state.surplus.insert(socket)
            return
        }
        state.idle[oldest] = nil
        state.receiving[oldest] = nil
        state.leaving.insert(oldest)
        shutdown(oldest, Int32(SHUT_RD))
    }

    /// The one of `sockets` of which nothing was heard for the longest; a stream's socket is its own affair.
    private static func silent(_ sockets: [Int32: UInt64], but new: Int32, _ streams: Set<Int32>) -> Int32? {
        sockets.filter { $0.key != new && !streams.contains($0.key) }.min { $0.value < $1.value }?.key
    }

    /// A connection's socket is about to be closed.
    func closed(_ socket: Int32) {
        state.with(wake: true) { state in
            state.connections.remove(socket)
            state.idle[socket] = nil
            state.receiving[socket] = nil
            state.leaving.remove(socket)
            state.surplus.remove(socket)
        }
    }

    /// Counts a request in whose header is complete; refuses it during a shutdown, and where there are too many.
    func beginRequest(_ socket: Int32) throws(Refusal) {
        try state.with { (state) throws(Refusal) in
            guard !state.closing else { throw .shuttingDown }
            guard !state.surplus.contains(socket) else { throw .tooManyRequests(limit) }
            state.idle[socket] = nil
            state.events += 1
            state.receiving[socket] = state.events
            state.requests += 1
        }
    }

    /// A request is complete: its client waits.
    func received(_ socket: Int32) { state.with { $0.receiving[socket] = nil } }

    /// Counts a request out, answered or not.
    func endRequest(_ socket: Int32) {
        state.with(wake: true) { state in
            state.requests -= 1
            state.receiving[socket] = nil
            Traffic.rest(socket, &state)
        }
    }

    private static func rest(_ socket: Int32, _ state: inout State) {
        if state.closing || state.leaving.contains(socket) {
            shutdown(socket, Int32(SHUT_RD))
        } else {
            state.events += 1
            state.idle[socket] = state.events
        }
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
    func close() {
        state.with { state in
            state.closing = true
            state.streams.forEach { shutdown($0, Int32(SHUT_RDWR)) }
            state.idle.keys.forEach { shutdown($0, Int32(SHUT_RD)) }
            state.idle = [:]
        }
    }

    /// Waits until no connection is left; the number of requests that still run at `deadline`.
    func drain(until deadline: UInt64) -> Int {
        _ = state.wait(until: deadline) { $0.connections.isEmpty ? true : nil }
        return state.with { $0.requests }
    }
}
