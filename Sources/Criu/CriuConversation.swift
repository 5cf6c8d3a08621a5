import CCriuImages
import Glibc
import LinuxSystem

/// The exchange of packets with one worker: a request, notifications with their answers, a response.
struct CriuConversation {
    let socket: Int32
    /// Our child. Its helpers and the tree that it builds hold its end of the socket too: that stays open when it dies.
    let worker: pid_t
    /// The root of the tree that it restores, our child too, once it is known. The worker waits for ever for a root that
    /// was killed, for it hears of the deaths of its own children alone.
    var root: pid_t?

    /// How often a worker that says nothing is looked after, in milliseconds.
    private static let interval: Int32 = 200

    /// What comes next from the worker.
    enum Event {
        case message(ResponseMessage)
        /// Nothing came before the deadline.
        case silence
        /// The worker is gone.
        case end
    }

    /// Sends one packet; false when the worker is gone.
    func send(_ packet: [UInt8]) throws(CriuError) -> Bool {
        do {
            try retrying("send") { Glibc.send(socket, packet, packet.count, Int32(MSG_NOSIGNAL)) }
            return true
        } catch {
            if error.code == EPIPE || error.code == ECONNRESET { return false }
            throw CriuError(.workerFailed, "a CRIU worker cannot be told", cause: error)
        }
    }

    /// Waits for one packet until `deadline`, nanoseconds of CLOCK_MONOTONIC; nil waits for ever.
    func next(until deadline: UInt64?) throws(CriuError) -> Event {
        let packet: [UInt8]
        do {
            guard let isReadable = try waitReadable(until: deadline) else { return .end }
            guard isReadable else { return .silence }
            packet = try receive()
        } catch {
            if error.code == ECONNRESET { return .end }
            throw CriuError(.workerFailed, "a CRIU worker cannot be heard", cause: error)
        }
        if packet.isEmpty { return .end }
        guard let message = ResponseMessage(unpacking: packet) else {
            throw CriuError(.workerFailed, "CRIU answers with \(packet.count) bytes that are not a response")
        }
        return .message(message)
    }

    /// Takes one packet; none is empty but the end.
    ///
    /// A descriptor that comes along (an orphaned pty's master) is closed by the kernel, as nobody asks for it: its
    /// slave then has no master, as it had none when it was dumped.
    private func receive() throws(SystemError) -> [UInt8] {
        let length = try retrying("recv") { recv(socket, nil, 0, Int32(MSG_PEEK) | Int32(MSG_TRUNC)) }
        var packet = [UInt8](repeating: 0, count: length)
        let received = try retrying("recv") { recv(socket, &packet, length, 0) }
        return Array(packet.prefix(received))
    }

    /// Sends a request that has one answer and no notifications.
    func ask(_ packet: [UInt8], until deadline: UInt64? = nil) throws(CriuError) -> ResponseMessage {
        guard try send(packet), case .message(let answer) = try next(until: deadline) else {
            throw CriuError(.workerFailed, "a CRIU worker ended without an answer")
        }
        guard answer.success else {
            throw CriuError(
                .workerFailed, answer.message ?? "CRIU refused the request", criuErrno: answer.criuErrno)
        }
        return answer
    }

    /// False when the deadline has passed, nil when the worker, or what it restores, has ended without a word.
    private func waitReadable(until deadline: UInt64?) throws(SystemError) -> Bool? {
        while true {
            var timeout = Self.interval
            if let deadline {
                let now = monotonicNanoseconds()
                let left = now >= deadline ? 0 : (deadline - now) / 1_000_000 + 1
                timeout = min(timeout, Int32(clamping: left))
            }
            // Asked before the socket is looked at: what it said last is still there.
            let hasEnded = Self.hasEnded(worker) || root.map(Self.hasEnded) == true
            if try isReadable(within: hasEnded ? 0 : timeout) { return true }
            if hasEnded { return nil }
            if let deadline, monotonicNanoseconds() >= deadline { return false }
        }
    }

    private func isReadable(within milliseconds: Int32) throws(SystemError) -> Bool {
        var entry = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        return try retrying("poll") { poll(&entry, 1, milliseconds) } > 0
    }

    /// Whether a child has ended; it is not reaped.
    static func hasEnded(_ child: pid_t) -> Bool {
        var information = siginfo_t()
        // All is zero where there is nothing to tell (waitid(2)).
        guard waitid(P_PID, id_t(child), &information, WEXITED | WNOHANG | WNOWAIT) == 0 else { return true }
        return information.si_signo == SIGCHLD
    }
}
