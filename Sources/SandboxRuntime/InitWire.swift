import CLinux
import Glibc
import LinuxSystem

/// The connection to one sandbox's PID 1: at most one at a time, and none while the sandbox is saved.
final class InitWire: Sendable {
    enum State {
        /// Dropped on purpose, or not made yet: who wants to send waits.
        case quiet
        case up(socket: Int32)
        /// Our half is closed; PID 1 is sending its last frames.
        case closing(socket: Int32)
        /// It ended by itself.
        case down(CommandError)
    }

    private let state = Monitor<State>(.quiet)
    /// Written to make the reader look at its clock again; -1 where there was no descriptor to be had.
    private let bell = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
    /// How long a reader without a bell waits at most, in milliseconds.
    private static let patience: Int32 = 200

    deinit { if bell >= 0 { Glibc.close(bell) } }

    /// Connects to `/.ckpt/socket` in the sandbox of PID 1 `pid`, again and again until `deadline`.
    static func connect(pid: Int32, deadline: UInt64) throws(CommandError) -> Descriptor {
        while true {
            do {
                return try fromInit(connectOnce(pid: pid), pid: pid)
            } catch let error as CommandError {
                throw error
            } catch {
                let error = error as! SystemError
                // PID 1 has not come to listen yet, or is not its parent's copy any more.
                let early = [ENOENT, ECONNREFUSED, EAGAIN, EINTR, EACCES].contains(error.code)
                guard early, monotonicNanoseconds() < deadline else {
                    throw error.code == ENOENT || error.code == ESRCH ? .disconnected : .system(error)
                }
                usleep(200)
            }
        }
    }

    /// The socket, where PID 1 itself is at its other end: root inside can put another in its place. The kernel tells
    /// who called listen(2).
    private static func fromInit(_ socket: consuming Descriptor, pid: Int32) throws -> Descriptor {
        guard try UnixSocket.peerProcess(of: socket.raw) == pid else { throw CommandError.impostor }
        return socket
    }

    private static func rootDirectory(of pid: Int32) throws(SystemError) -> Descriptor {
        do throws(SystemError) { return try Descriptor.open("/proc/\(pid)/root", O_PATH | O_DIRECTORY) } catch
        {
            // A process that has ended and is yet to be reaped has no root any more (fs/proc/base.c).
            throw error.code == ENOENT ? SystemError(call: "open", code: ESRCH, subject: "PID 1") : error
        }
    }

    private static func connectOnce(pid: Int32) throws(SystemError) -> Descriptor {
        let root = try rootDirectory(of: pid)
        // Not by path: the sandbox could put a symbolic link there, which would lead to a socket of the host.
        let inside = String(CKPT_INIT_SOCKET.dropFirst())
        let found = Descriptor(
            owning: try retrying("openat2", CKPT_INIT_SOCKET) {
                clinux_open_in_root(root.raw, inside, O_PATH | O_CLOEXEC)
            })
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        let socket = Descriptor(owning: try retrying("socket") { Glibc.socket(AF_UNIX, kind, 0) })
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) {
            $0.copyBytes(from: "/proc/self/fd/\(found.raw)".utf8)
        }
        try retrying("connect", CKPT_INIT_SOCKET) {
            withUnsafePointer(to: address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Glibc.connect(
                        socket.raw, __CONST_SOCKADDR_ARG(__sockaddr__: $0),
                        socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
        }
        // PID 1 always reads: only a stopped sandbox makes a send wait this long.
        var patience = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(socket.raw, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        return socket
    }

    /// Whether frames can be sent now.
    var isUp: Bool {
        state.with {
            if case .up = $0 { return true }
            return false
        }
    }

    /// Takes a connection into use after sending `first` on it; false when that fails. Nobody else sends on it
    /// before `before` has run, which may take no lock that is held by who sends.
    func bringUp(socket: Int32, first: [UInt8], before: () -> Void) -> Bool {
        state.with(wake: true) {
            before()
            guard Self.sendAll(socket, first) else { return false }
            $0 = .up(socket: socket)
            return true
        }
    }

    /// Sends frames if the connection is up; what does not get through is derived again when it is back.
    @discardableResult
    func send(_ bytes: [UInt8]) -> Bool {
        state.with {
            guard case .up(let socket) = $0 else { return false }
            return Self.sendAll(socket, bytes)
        }
    }

    /// Sends frames as soon as the connection is up; `before` runs right before, on the connection that is used.
    func sendWhenUp(
        _ bytes: [UInt8], deadline: UInt64, before: () -> Void = {}
    ) throws(CommandError) {
        let sent: Result<Void, CommandError>? = state.wait(until: deadline) {
            switch $0 {
            case .up(let socket):
                before()
                return Self.sendAll(socket, bytes) ? .success(()) : .failure(.disconnected)
            case .down(let error): return .failure(error)
            case .quiet, .closing: return nil
            }
        }
        try (sent ?? .failure(.noAnswer)).get()
    }

    /// Sends the last frames, closes our half and waits until PID 1 has closed its own.
    func close(last: [UInt8], deadline: UInt64) throws(CommandError) {
        state.with {
            guard case .up(let socket) = $0 else { return }
            _ = Self.sendAll(socket, last)
            shutdown(socket, Int32(SHUT_WR))
            $0 = .closing(socket: socket)
        }
        ring()
        let end: Result<Void, CommandError>? = state.wait(until: deadline) {
            switch $0 {
            case .quiet: .success(())
            case .down(let error): .failure(error)
            case .up, .closing: nil
            }
        }
        try (end ?? .failure(.noAnswer)).get()
    }

    /// Called by the reader when nothing more comes on `socket`, before it closes it; whether that was wanted.
    func ended(_ socket: Int32, _ error: CommandError) -> Bool {
        state.with(wake: true) {
            switch $0 {
            case .closing(let current) where current == socket: $0 = .quiet
            case .up(let current) where current == socket:
                $0 = .down(error)
                return false
            default: break  // another connection has taken its place
            }
            return true
        }
    }

    /// Makes the reader end, whatever the sandbox does; who waits to send gets `reason`.
    func abort(_ reason: CommandError) {
        state.with(wake: true) {
            switch $0 {
            case .up(let socket), .closing(let socket): shutdown(socket, Int32(SHUT_RDWR))
            case .quiet: $0 = .down(reason)
            case .down: break
            }
        }
        ring()
    }

    /// Whether it ended by itself.
    var isDown: Bool {
        state.with {
            if case .down = $0 { return true }
            return false
        }
    }

    /// Makes `waitReadable` return.
    func ring() {
        var one: UInt64 = 1
        _ = write(bell, &one, 8)
    }

    /// Waits until the socket has something, `deadline` passes or the bell rings; whether it has.
    func waitReadable(_ socket: Int32, until deadline: UInt64?) -> Bool {
        var watched = [
            pollfd(fd: socket, events: Int16(POLLIN), revents: 0),
            pollfd(fd: bell, events: Int16(POLLIN), revents: 0),
        ]
        var milliseconds: Int32 = -1
        if let deadline {
            let now = monotonicNanoseconds()
            milliseconds = deadline > now ? Int32(clamping: (deadline - now) / 1_000_000 + 1) : 0
        }
        if bell < 0 { milliseconds = milliseconds < 0 ? Self.patience : min(milliseconds, Self.patience) }
        // A negative descriptor is not looked at (poll(2)).
        _ = poll(&watched, 2, milliseconds)
        if watched[1].revents != 0 { silence() }
        return watched[0].revents != 0
    }

    /// Waits for so many nanoseconds or until the bell rings; whether it did.
    func rest(_ nanoseconds: UInt64) -> Bool {
        guard bell >= 0 else {
            usleep(useconds_t(nanoseconds / 1000))
            return true
        }
        var watched = pollfd(fd: bell, events: Int16(POLLIN), revents: 0)
        guard poll(&watched, 1, Int32(nanoseconds / 1_000_000)) > 0 else { return false }
        silence()
        return true
    }

    /// Makes the bell that has rung ready to ring again.
    private func silence() {
        var count: UInt64 = 0
        _ = read(bell, &count, 8)
    }

    private static func sendAll(_ socket: Int32, _ bytes: [UInt8]) -> Bool {
        bytes.withUnsafeBytes { buffer in
            var sent = 0
            while sent < buffer.count {
                let count = Glibc.send(
                    socket, buffer.baseAddress! + sent, buffer.count - sent, Int32(MSG_NOSIGNAL))
                if count < 0 && errno == EINTR { continue }
                if count < 0 {
                    shutdown(socket, Int32(SHUT_RDWR))  // the reader sees the end and says so
                    return false
                }
                sent += count
            }
            return true
        }
    }
}
