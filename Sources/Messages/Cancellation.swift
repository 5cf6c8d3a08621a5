import Glibc

/// Whether whoever asked for an operation still waits for its answer.
///
/// It watches the client's socket: a client that exits or is interrupted closes it. A long operation asks
/// between its steps, or puts `descriptor` into a poll(2) of its own.
public struct Cancellation: Sendable {
    /// The connected socket of the caller, borrowed and valid only during the call; nil when nobody can
    /// cancel. poll(2) it for `events`.
    public let descriptor: Int32?

    /// The poll(2) events to ask for: none. POLLHUP and POLLERR, which mean that the caller is gone, come unasked.
    ///
    /// POLLRDHUP is not the caller's alone: it comes too where the server has closed its own reading half, to make
    /// room or for a successor, with the request in the socket's buffer already; and where a caller says that it
    /// has no more to send, and waits (`unix_poll` in net/unix/af_unix.c).
    public static let events: Int16 = 0

    /// Watches a connected stream socket, which stays the caller's own.
    public init(watching socket: Int32) { descriptor = socket }

    private init() { descriptor = nil }

    /// An operation that nobody cancels.
    public static let never = Cancellation()

    /// Whether the caller is gone; one poll(2) without waiting.
    public var isCancelled: Bool {
        guard let descriptor else { return false }
        var entry = pollfd(fd: descriptor, events: Cancellation.events, revents: 0)
        return poll(&entry, 1, 0) > 0
    }

    /// Throws `cancelled` when the caller is gone.
    public func check() throws(ErrorMessage) {
        if isCancelled { throw ErrorMessage(.cancelled, "the client went away") }
    }
}
