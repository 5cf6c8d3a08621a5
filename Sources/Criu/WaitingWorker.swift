import Glibc
import LinuxSystem

/// A worker that waits for who will need it, on any thread; it goes away with this.
public final class WaitingWorker: Sendable {
    private let worker: Monitor<(socket: Int32, process: pid_t)?>

    /// Takes a worker over that was asked for nothing yet.
    public init(_ worker: consuming CriuWorker) { self.worker = Monitor(worker.release()) }

    deinit { _ = take() }

    /// The worker; nil where it was taken, or has ended by itself.
    public func take() -> CriuWorker? {
        let parts = worker.with { parts in
            defer { parts = nil }
            return parts
        }
        guard let parts else { return nil }
        let worker = CriuWorker(socket: parts.socket, process: parts.process)
        // Nobody has spoken: anything but silence is its end.
        var poller = pollfd(fd: parts.socket, events: Int16(POLLIN), revents: 0)
        if poll(&poller, 1, 0) != 0 { return nil }
        return worker
    }
}
