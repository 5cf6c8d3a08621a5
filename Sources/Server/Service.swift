import Glibc
import LinuxSystem
import Messages

/// How much a client may ask of the server's patience and threads.
public struct ServerLimits: Sendable {
    /// Connections at once; further ones are closed as soon as they are accepted.
    public var connections: UInt32 = 1000
    /// Seconds without a byte until an incomplete request is given up.
    public var requestSeconds: UInt32 = 30
    /// Seconds without progress until a client that does not read its answer is given up.
    public var stallSeconds: UInt32 = 60
    /// Seconds a shutdown waits for requests that run.
    public var drainSeconds: UInt32 = 10

    /// The limits `ckpt serve` uses.
    public init() {}
}

/// What every exchange shares.
struct Service: Sendable {
    let engine: any EngineOperations
    let control: any ServerControl
    let router: Router
    let limits: ServerLimits
    let log: ServerLog
    let traffic: Traffic

    /// Whether the user at the other end may use this server: its own, or root.
    ///
    /// The socket's mode says the same; this holds where a directory's rights were loosened by hand.
    func admits(_ socket: Int32) -> Bool {
        do throws(SystemError) {
            let user = try UnixSocket.peerUser(of: socket)
            if user == geteuid() || user == 0 { return true }
            log.write("refused a connection of user \(user)")
        } catch {
            log.write("refused a connection: \(error)")
        }
        return false
    }
}

/// Which requests and exec streams run, so that a shutdown can wait for them.
final class Traffic: Sendable {
    private struct State {
        var closing = false
        var requests = 0
        /// The sockets of exec streams that run.
        var streams: Set<Int32> = []
    }
    private let state = Monitor(State())

    /// Counts a request in; false during a shutdown.
    func beginRequest() -> Bool {
        state.with { state in
            guard !state.closing else { return false }
            state.requests += 1
            return true
        }
    }

    func endRequest() { state.with(wake: true) { $0.requests -= 1 } }

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
    func close(_ breakOff: (Int32) -> Void) {
        state.with { state in
            state.closing = true
            state.streams.forEach(breakOff)
        }
    }

    /// Waits until nothing runs; the number of requests and streams that still do at `deadline`.
    func drain(until deadline: UInt64) -> Int {
        let left = state.wait(until: deadline) { state in
            state.requests == 0 && state.streams.isEmpty ? 0 : nil
        }
        return left ?? state.with { $0.requests + $0.streams.count }
    }
}
