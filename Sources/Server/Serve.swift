public import Messages
public import Telemetry
import CLinux
import FoundationEssentials
import Glibc
import LinuxSystem

/// Tells whoever started the server, on a pipe, that it listens or why it does not.
///
/// One `+` means that it listens; anything else is an `ErrorMessage` as JSON. A pipe that closes without
/// either says that the server died.
public struct ReadyReport: Sendable {
    private let descriptor: Int32?

    /// Reports on an inherited descriptor, or not at all.
    public init(descriptor: Int32?) {
        self.descriptor = descriptor
        // What the server starts must not keep the pipe open.
        if let descriptor { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    }

    /// Reports that the socket listens; the descriptor is closed.
    public func listening() { report(Array("+".utf8)) }

    /// Reports a failure; the descriptor is closed.
    public func failed(_ error: ErrorMessage) { report(JSONBody.encode(error)) }

    private func report(_ bytes: [UInt8]) {
        guard let descriptor else { return }
        let pipe = Descriptor(owning: descriptor)
        // Nobody may be there to read any more, which is no reason not to serve.
        try? pipe.writeAll(bytes)
    }
}

/// Serves `root` until SIGTERM, SIGINT or `POST /v1/shutdown`; the whole of `ckpt serve`.
///
/// Whoever watches over the process as systemd does (sd_notify(3)) is told when it listens and when it ends.
/// Call it on the main thread of a process that does nothing else. It installs handlers for SIGTERM, SIGINT
/// and SIGPIPE. Throws `inUse` when another server has the root, and whatever `engine` throws; `ready` is
/// told in every case. `metrics` is an address and port that serve numbers to anybody.
public func serve(
    root: String, access: Access = .owner, inherited: InheritedSocket? = nil,
    ready: ReadyReport = ReadyReport(descriptor: nil), limits: ServerLimits = ServerLimits(),
    logging: LogOptions = LogOptions(), metrics: String? = nil,
    engine: (Telemetry) throws(ErrorMessage) -> any EngineOperations
) throws(ErrorMessage) {
    // Whoever starts it may have another: what a sandbox must be able to read is made with exact modes.
    umask(0o022)
    let server: APIServer
    do throws(ErrorMessage) {
        server = try APIServer(
            root: root, access: access, inherited: inherited, limits: limits, logging: logging,
            metrics: metrics, wakefulness: Wakefulness(), engine: engine)
    } catch {
        ready.failed(error)
        throw error
    }
    guard clinux_catch_stop_signals(server.stopDescriptor) == 0 else {
        let error = ErrorMessage(.internal, "no signal handlers", cause: "\(SystemError.last("sigaction"))")
        ready.failed(error)
        throw error
    }
    ready.listening()
    let manager = ServiceManager()
    manager.tell("READY=1\nMAINPID=\(getpid())\nSTATUS=serves \(root)")
    server.waitUntilStopped()
    manager.tell("STOPPING=1\nSTATUS=ends; sandboxes run on")
}
