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
    /// The same where another server takes this one's place: whoever calls meanwhile waits for that one.
    public var handoverSeconds: UInt32 = 600

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
    let access: Access
    let limits: ServerLimits
    let telemetry: Telemetry
    let traffic: Traffic
    /// Kept up while requests come.
    var wakefulness: Wakefulness?
    /// Whether anybody may connect: a port that serves nothing but numbers.
    var isOpenToAll = false

    /// Why the process at the other end of a socket may not use this server; nil when it may.
    func objection(to socket: Int32) -> ErrorMessage? {
        if isOpenToAll { return nil }
        guard let objection = access.objection(to: socket) else { return nil }
        telemetry.log.write(.warning, "refused a connection: \(objection.message)")
        return objection
    }
}
