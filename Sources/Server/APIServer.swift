public import Messages
public import Telemetry
import Glibc
public import LinuxSystem

/// The server of one root: lock, engine, socket, connections.
public final class APIServer: Sendable {
    private let root: String
    private let daemon: HTTPDaemon
    private let metricsPort: MetricsPort?
    private let traffic: Traffic
    private let limits: ServerLimits
    let telemetry: Telemetry
    private let stopRequest: StopRequest
    private let directory: Descriptor
    private let lock: RootLock
    /// Whether the socket is somebody else's, who keeps it when this server ends.
    private let keepsSocket: Bool

    /// Locks the root (made when missing), opens the engine, then listens on ROOT/server.sock for whom `access` admits.
    ///
    /// The engine is opened under the lock, so it may sweep what an earlier server left behind. Throws
    /// `inUse` when another server has the root, and whatever `engine` throws. `engine` is given what it tells of
    /// itself with. A socket that listens already is taken over. `metrics` is an address and port that serve numbers
    /// to anybody.
    public init(
        root: String, access: Access = .owner, inherited: InheritedSocket? = nil,
        limits: ServerLimits = ServerLimits(), logging: LogOptions = LogOptions(), metrics: String? = nil,
        wakefulness: Wakefulness? = nil,
        engine: (Telemetry) throws(ErrorMessage) -> any EngineOperations
    ) throws(ErrorMessage) {
        directory = try access.open(root: root)
        // Whoever is to delete something is started first.
        Reserve.releaseIfFull(root)
        lock = try RootLock(in: directory, path: root)
        let stopRequest = try StopRequest()
        self.stopRequest = stopRequest
        keepsSocket = inherited?.isLent == true
        traffic = Traffic(limit: Int(limits.connections))
        self.root = root
        self.limits = limits
        do throws(SystemError) {
            telemetry = Telemetry(log: try logging.open(in: directory))
        } catch {
            throw ErrorMessage(.internal, "\(root)/server.log cannot be written", cause: "\(error)")
        }
        let service = Service(
            engine: try engine(telemetry), control: stopRequest, router: .v1, access: access, limits: limits,
            telemetry: telemetry, traffic: traffic, wakefulness: wakefulness)
        metricsPort = try metrics.map { [telemetry, stopRequest] (place) throws(ErrorMessage) in
            let socket: MetricsSocket
            if let taken = inherited?.metrics { socket = taken } else { socket = try MetricsSocket(place) }
            return try MetricsPort(
                socket, engine: service.engine, control: stopRequest, telemetry: telemetry)
        }
        stopRequest.setMetricsListener(metricsPort?.listener)
        do throws(SystemError) {
            let listener: Descriptor
            if let inherited {
                listener = Descriptor(owning: inherited.descriptor)
                if !inherited.isLent { try access.apply(to: "server.sock", in: directory) }
            } else {
                // Under the lock, whatever has that name is nobody's any more.
                unlinkat(directory.raw, "server.sock", 0)
                listener = try UnixSocket.listen(
                    "server.sock", in: directory, at: root, group: access.group)
            }
            stopRequest.setListener(listener.raw)
            daemon = HTTPDaemon(service, on: listener)
            try daemon.start()
        } catch {
            throw ErrorMessage(.internal, "cannot listen on \(root)/server.sock", cause: "\(error)")
        }
        telemetry.emit(.started) {
            $0.message = "serves \(root), version \(Product.version), pid \(getpid())"
        }
    }

    /// The descriptor to which any byte written asks for a clean shutdown; for signal handlers.
    public var stopDescriptor: Int32 { stopRequest.writeEnd }

    /// Microseconds.
    private static let handoverGrace: UInt32 = 50_000

    /// How many connections there are.
    var connectionCount: Int { traffic.connectionCount }
    /// How many of them are between two requests.
    var idleConnectionCount: Int { traffic.idleCount }

    /// Asks for a clean shutdown and returns at once.
    public func requestStop() { stopRequest.requestStop() }

    /// Serves until a shutdown is asked for, then lets running requests finish and removes socket and lock.
    ///
    /// Requests that take longer than the limits allow are left behind: true when nothing was. Sandboxes run
    /// on in either case.
    ///
    /// Where another server takes this one's place, operations are waited for longer, and what only waits for
    /// something is broken off after a second: its client asks the other server again.
    @discardableResult
    public func waitUntilStopped() -> Bool {
        // A lent socket goes on listening: a service manager is about to start the next server, or none.
        let handsOver = stopRequest.wait() || keepsSocket
        if !handsOver { unlinkat(directory.raw, "server.sock", 0) }
        telemetry.emit(.stopping) { $0.message = "ends; sandboxes run on" }
        telemetry.events.close()
        metricsPort?.quiesce()
        daemon.quiesce()
        let now = monotonicNanoseconds()
        // Who has connected a moment ago gets to say what it wants.
        if handsOver { usleep(Self.handoverGrace) }
        traffic.close(refusing: !handsOver)
        metricsPort?.stop(refusing: !handsOver)
        let left =
            handsOver
            ? traffic.drain(
                until: now + UInt64(limits.handoverSeconds) * 1_000_000_000, patience: now + 1_000_000_000)
            : traffic.drain(until: now + UInt64(limits.drainSeconds) * 1_000_000_000)
        if left == 0 {
            daemon.stop()
        } else {
            // Its threads go on using it until the process ends.
            _ = Unmanaged.passRetained(daemon)
        }
        telemetry.log.write(.info, left == 0 ? "ended" : "ended with \(left) requests unfinished")
        lock.release()
        return left == 0
    }
}

/// A pipe that carries the wish to stop from requests and signal handlers to the waiting thread.
final class StopRequest: ServerControl, Sendable {
    private struct State {
        var listener: Int32 = -1
        var metricsListener: Int32?
        /// As the first one to ask said.
        var keepsSocket: Bool?
    }
    private let readEnd: Int32
    let writeEnd: Int32
    private let state = Monitor(State())

    init() throws(ErrorMessage) {
        let ends = try Pipe()
        readEnd = ends.reading.release()
        writeEnd = ends.writing.release()
    }

    var listener: Int32 { state.with { $0.listener } }

    var metricsListener: Int32? { state.with { $0.metricsListener } }

    func setListener(_ descriptor: Int32) { state.with { $0.listener = descriptor } }

    func setMetricsListener(_ descriptor: Int32?) { state.with { $0.metricsListener = descriptor } }

    func requestStop(keepingSocket: Bool = false) {
        state.with { $0.keepsSocket = $0.keepsSocket ?? keepingSocket }
        var byte: UInt8 = 0
        _ = write(writeEnd, &byte, 1)
    }

    /// Waits for the wish; whether the socket is to stay.
    func wait() -> Bool {
        var byte: UInt8 = 0
        while read(readEnd, &byte, 1) < 0 && errno == EINTR {}
        return state.with { $0.keepsSocket } ?? false
    }

    deinit {
        _ = close(readEnd)
        _ = close(writeEnd)
    }
}
