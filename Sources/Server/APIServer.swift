public import Messages
import Glibc
import LinuxSystem

/// The server of one root: lock, engine, socket, connections.
public final class APIServer: Sendable {
    private let root: String
    private let daemon: HTTPDaemon
    private let traffic: Traffic
    private let limits: ServerLimits
    private let log: ServerLog
    private let stopRequest: StopRequest
    private let directory: Descriptor
    private let lock: RootLock

    /// Locks the root (made when missing, mode 0700), opens the engine, then listens on ROOT/server.sock.
    ///
    /// The engine is opened under the lock, so it may sweep what an earlier server left behind. Throws
    /// `inUse` when another server has the root, and whatever `engine` throws.
    public init(
        root: String, limits: ServerLimits = ServerLimits(),
        engine: () throws(ErrorMessage) -> any EngineOperations
    ) throws(ErrorMessage) {
        directory = try APIServer.open(root)
        lock = try RootLock(in: directory, path: root)
        stopRequest = try StopRequest()
        traffic = Traffic()
        self.root = root
        self.limits = limits
        do throws(SystemError) {
            log = try ServerLog(in: directory)
        } catch {
            throw ErrorMessage(.internal, "\(root)/server.log cannot be written", cause: "\(error)")
        }
        let service = Service(
            engine: try engine(), control: stopRequest, router: .v1, limits: limits, log: log,
            traffic: traffic)
        do throws(SystemError) {
            // Under the lock, whatever has that name is nobody's any more.
            unlinkat(directory.raw, "server.sock", 0)
            let listener = try UnixSocket.listen("server.sock", in: directory, at: root)
            daemon = HTTPDaemon(service, on: listener)
            try daemon.start()
        } catch {
            throw ErrorMessage(.internal, "cannot listen on \(root)/server.sock", cause: "\(error)")
        }
        log.write("serves \(root), version \(Product.version)")
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
        daemon.quiesce()
        traffic.close()
        let left = traffic.drain(until: monotonicNanoseconds() + UInt64(limits.drainSeconds) * 1_000_000_000)
        if left == 0 {
            daemon.stop()
        } else {
            // Its threads go on using it until the process ends.
            _ = Unmanaged.passRetained(daemon)
        }
        log.write(left == 0 ? "ended" : "ended with \(left) requests unfinished")
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
