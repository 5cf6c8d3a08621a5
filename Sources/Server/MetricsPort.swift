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

    /// Listens on `ADDRESS:PORT`, an IPv6 address in brackets. Throws `badValue` for what is none, and `inUse`.
    init(_ place: String, engine: any EngineOperations, control: any ServerControl, telemetry: Telemetry)
        throws(ErrorMessage)
    {
        var limits = ServerLimits()
        limits.connections = Self.connections
        let service = Service(
            engine: engine, control: control, router: .metricsAlone, limits: limits, telemetry: telemetry,
            traffic: traffic, isOpenToAll: true)
        let listener = try Self.listen(place)
        daemon = HTTPDaemon(service, on: listener)
        do throws(SystemError) { try daemon.start() } catch {
            throw ErrorMessage(.internal, "no port for metrics", cause: "\(error)")
        }
    }

    /// Ends it; a request that runs is answered first.
    func stop() {
        daemon.quiesce()
        traffic.close()
        _ = traffic.drain(until: monotonicNanoseconds() + 5_000_000_000)
        daemon.stop()
    }

    private static func listen(_ place: String) throws(ErrorMessage) -> Descriptor {
        let bad = ErrorMessage(
            .badValue, "\"\(place)\" is no address and port",
            hint: "for example 127.0.0.1:9464, or [::1]:9464")
        guard let colon = place.lastIndex(of: ":") else { throw bad }
        var host = String(place[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard !host.isEmpty, let port = UInt16(place[place.index(after: colon)...]), port > 0 else {
            throw bad
        }
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST | AI_PASSIVE
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, "\(port)", &hints, &found) == 0, let address = found else { throw bad }
        defer { freeaddrinfo(found) }
        do throws(SystemError) {
            let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
            let socket = Descriptor(
                owning: try retrying("socket") { Glibc.socket(address.pointee.ai_family, type, 0) })
            var yes: Int32 = 1
            setsockopt(socket.raw, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
            try retrying("bind", place) {
                bind(
                    socket.raw, __CONST_SOCKADDR_ARG(__sockaddr__: address.pointee.ai_addr),
                    address.pointee.ai_addrlen)
            }
            try retrying("listen", place) { Glibc.listen(socket.raw, 16) }
            return socket
        } catch {
            throw ErrorMessage(
                error.code == EADDRINUSE ? .inUse : .internal, "no port for metrics at \(place)",
                cause: "\(error)")
        }
    }
}
