public import Messages
public import Telemetry
import Glibc
import LinuxSystem

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

    /// Locks the root (made when missing, mode 0700), opens the engine, then listens on ROOT/server.sock.
    ///
    /// The engine is opened under the lock, so it may sweep what an earlier server left behind. Throws
    /// `inUse` when another server has the root, and whatever `engine` throws. `engine` is given what it tells of
    /// itself with. `metrics` is an address and port that serve numbers to anybody.
    public init(
        root: String, limits: ServerLimits = ServerLimits(), logging: LogOptions = LogOptions(),
        metrics: String? = nil,
        engine: (Telemetry) throws(ErrorMessage) -> any EngineOperations
    ) throws(ErrorMessage) {
        directory = try APIServer.open(root)
        lock = try RootLock(in: directory, path: root)
        stopRequest = try StopRequest()
        traffic = Traffic(limit: Int(limits.connections))
        self.root = root
        self.limits = limits
        do throws(SystemError) {
            telemetry = Telemetry(log: try logging.open(in: directory))
        } catch {
            throw ErrorMessage(.internal, "\(root)/server.log cannot be written", cause: "\(error)")
        }
        let service = Service(
            engine: try engine(telemetry), control: stopRequest, router: .v1, limits: limits,
            telemetry: telemetry, traffic: traffic)
        metricsPort = try metrics.map { [telemetry, stopRequest] (place) throws(ErrorMessage) in
            try MetricsPort(place, engine: service.engine, control: stopRequest, telemetry: telemetry)
        }
        do throws(SystemError) {
            // Under the lock, whatever has that name is nobody's any more.
            unlinkat(directory.raw, "server.sock", 0)
            let listener = try UnixSocket.listen("server.sock", in: directory, at: root)
            daemon = HTTPDaemon(service, on: listener)
            try daemon.start()
        } catch {
            throw ErrorMessage(.internal, "cannot listen on \(root)/server.sock", cause: "\(error)")
        }
        telemetry.emit(.started) {
            $0.message = "serves \(root), version \(Product.version), pid \(getpid())"
        }
    }

    private static func open(_ root: String) throws(ErrorMessage) -> Descriptor {
        if mkdir(root, 0o700) != 0, errno != EEXIST {
            throw ErrorMessage(.internal, "cannot make the root", cause: "\(SystemError.last("mkdir", root))")
        }
        do throws(SystemError) {
            return try Descriptor.open(root, O_RDONLY | O_DIRECTORY)
        } catch {
            throw ErrorMessage(.internal, "cannot open the root", cause: "\(error)")
        }
    }

    /// The descriptor to which any byte written asks for a clean shutdown; for signal handlers.
    public var stopDescriptor: Int32 { stopRequest.writeEnd }

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
    @discardableResult
    public func waitUntilStopped() -> Bool {
        stopRequest.wait()
        unlinkat(directory.raw, "server.sock", 0)
        telemetry.emit(.stopping) { $0.message = "ends; sandboxes run on" }
        telemetry.events.close()
        metricsPort?.stop()
        daemon.quiesce()
        traffic.close()
        let left = traffic.drain(until: monotonicNanoseconds() + UInt64(limits.drainSeconds) * 1_000_000_000)
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
    private let readEnd: Int32
    let writeEnd: Int32

    init() throws(ErrorMessage) {
        let ends = try Pipe()
        readEnd = ends.reading.release()
        writeEnd = ends.writing.release()
    }

    func requestStop() {
        var byte: UInt8 = 0
        _ = write(writeEnd, &byte, 1)
    }

    func wait() {
        var byte: UInt8 = 0
        while read(readEnd, &byte, 1) < 0 && errno == EINTR {}
    }

    deinit {
        _ = close(readEnd)
        _ = close(writeEnd)
    }
}
