import Glibc
import LinuxSystem
import Messages
import Telemetry

/// A TCP port that serves `GET /metrics` and nothing else: Prometheus cannot ask a Unix socket.
///
/// Whoever reaches it may read the numbers; none of them names a sandbox, a snapshot or a file.
final class MetricsPort: Sendable {
    private let daemon: HTTPDaemon
    private static let connections: UInt32 = 16
    private let traffic = Traffic(limit: Int(connections))

    /// Answers on the socket.
    init(
        _ socket: MetricsSocket, engine: any EngineOperations, control: any ServerControl,
        telemetry: Telemetry
    ) throws(ErrorMessage) {
        var limits = ServerLimits()
        limits.connections = Self.connections
        let service = Service(
            engine: engine, control: control, router: .metricsAlone, access: .owner, limits: limits,
            telemetry: telemetry, traffic: traffic, isOpenToAll: true)
        daemon = HTTPDaemon(service, on: Descriptor(owning: socket.descriptor))
        do throws(SystemError) { try daemon.start() } catch {
            throw ErrorMessage(.internal, "no port for metrics", cause: "\(error)")
        }
    }

    /// The number of the descriptor that it listens on.
    var listener: Int32 { daemon.listener }

    /// Accepts no more.
    func quiesce() { daemon.quiesce() }

    /// Ends it; a request that runs is answered first, and with `refusing` what comes now is refused.
    func stop(refusing: Bool) {
        traffic.close(refusing: refusing)
        _ = traffic.drain(until: monotonicNanoseconds() + 5_000_000_000)
        daemon.stop()
    }
}
