import Glibc
import LinuxSystem

/// Breaks a client's running call off, from any thread.
///
/// The server notices that the connection is gone and stops what it does where that can be stopped. A process
/// that simply ends has the same effect.
public final class Interrupter: Sendable {
    private struct State {
        var socket: Int32?
        var interrupted = false
    }
    private let state = Monitor(State())

    /// Makes the running call, or the next one, throw `cancelled`.
    public func interrupt() {
        state.with { state in
            state.interrupted = true
            if let socket = state.socket { shutdown(socket, Int32(SHUT_RDWR)) }
        }
    }

    /// Enters a call on `socket`; false when it is to be broken off at once.
    func enter(_ socket: Int32) -> Bool {
        state.with { state in
            state.socket = socket
            return !state.interrupted
        }
    }

    /// Leaves the call; whether it was interrupted, which is forgotten by that.
    func leave() -> Bool {
        state.with { state in
            defer { state = State() }
            return state.interrupted
        }
    }
}
