import Glibc
import LinuxSystem
import Messages
import Telemetry

/// How much a client may ask of the server's patience and threads.
public struct ServerLimits: Sendable {
    /// Connections at once. A further one takes the place of the one whose client has been silent for the longest,
    /// or is refused where every client waits for an answer. At most half of the descriptors this process may have
    /// (RLIMIT_NOFILE), for the engine needs some too.
    public var connections: UInt32
    /// Seconds without a byte until an incomplete request is given up.
    public var requestSeconds: UInt32 = 30
    /// Seconds without progress until a client that does not read its answer is given up.
    public var stallSeconds: UInt32 = 60
    /// Seconds a shutdown waits for requests that run.
    public var drainSeconds: UInt32 = 10

    /// The limits `ckpt serve` uses.
    public init() {
        connections = UInt32(min(1000, DescriptorLimit.current.soft / 2))
    }

    /// Connections beyond those, which are only there to be refused in words, or until others have been closed.
    var surplus: UInt32 { max(4, connections / 8) }
}

/// What every exchange shares.
struct Service: Sendable {
    let engine: any EngineOperations
    let control: any ServerControl
    let router: Router
    let limits: ServerLimits
    let telemetry: Telemetry
    let traffic: Traffic
    /// Whether anybody may connect: a port that serves nothing but numbers.
    var isOpenToAll = false

    /// Whether the user at the other end may use this server: its own, or root.
    ///
    /// The socket's mode says the same; this holds where a directory's rights were loosened by hand.
    func admits(_ socket: Int32) -> Bool {
        if isOpenToAll { return true }
        do throws(SystemError) {
            let user = try UnixSocket.peerUser(of: socket)
            if user == geteuid() || user == 0 { return true }
            telemetry.log.write(.warning, "refused a connection of user \(user)")
        } catch {
            telemetry.log.write(.warning, "refused a connection: \(error)")
        }
        return false
    }
}
