/// Whether a sandbox's processes run.
public enum SandboxState: String, Codable, Sendable {
    /// PID 1 and what it started run.
    case running
    /// They are all there and stand still (`pause`).
    case paused
    /// It was stopped on request (`save --stop`, `kill`); its files are there, its processes are not.
    case stopped
    /// Its PID 1 ended by itself or was killed from outside.
    case dead
}

/// `POST /v1/sandboxes`.
public struct CreateRequest: Codable, Sendable {
    /// The sandbox's name; a free one is made up when nil.
    public var name: String?
    public var spec: SandboxSpec
    public init(name: String? = nil, spec: SandboxSpec) {
        self.name = name
        self.spec = spec
    }

    /// Reads a request of which any field may be missing.
    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        name = try fields.decodeIfPresent(String.self, forKey: .name)
        spec = try fields.decodeIfPresent(SandboxSpec.self, forKey: .spec) ?? SandboxSpec()
    }
}

/// One sandbox, as `ps`, `create` and `GET /v1/sandboxes/{name}` tell it.
public struct SandboxInfo: Codable, Sendable {
    public var name: String
    public var state: SandboxState
    /// The host's pid of its PID 1 while it runs.
    public var pid: Int32?
    public var spec: SandboxSpec
    /// When it was created, seconds since 1970.
    public var created: Double
    /// The snapshot it stands on: the last one saved, restored or forked from; nil at the base.
    public var snapshot: String?
    /// The processes in it, PID 1 included; 0 when none runs.
    public var processes: Int
    /// The sessions that live in it, by name.
    public var sessions: [String]
    /// Why it is dead, where it is.
    public var reason: String?
    /// The ports of the host that lead into it while it runs; nil without any.
    public var ports: [PublishedPort]?
    /// What was asked for and is not so, in words: with `bestEffort`, limits that cannot be set here.
    public var warnings: [String]
    /// Processes that the kernel killed because the limit of memory was reached; nil where nobody counts.
    public var oomKills: UInt64?
    /// Bytes of its memory that are still to come after a restore that did not wait for them; nil where all is there.
    public var memoryToCome: Int64?
    /// What it uses; told by `ps` and for one sandbox that runs.
    public var usage: SandboxUsage?

    public init(
        name: String, state: SandboxState, pid: Int32?, spec: SandboxSpec, created: Double,
        snapshot: String?, processes: Int, sessions: [String], reason: String? = nil,
        ports: [PublishedPort]? = nil
    ) {
        self.name = name
        self.state = state
        self.pid = pid
        self.spec = spec
        self.created = created
        self.snapshot = snapshot
        self.processes = processes
        self.sessions = sessions
        self.reason = reason
        self.ports = ports
        warnings = []
    }
}

/// A port of the host that leads into a sandbox.
public struct PublishedPort: Codable, Hashable, Sendable {
    /// The host's address it listens on; every one when nil.
    public var address: String?
    public var hostPort: UInt16
    /// The port inside.
    public var boxPort: UInt16
    public var transport: PortForward.Transport

    public init(address: String?, hostPort: UInt16, boxPort: UInt16, transport: PortForward.Transport) {
        self.address = address
        self.hostPort = hostPort
        self.boxPort = boxPort
        self.transport = transport
    }
}

extension PublishedPort: CustomStringConvertible {
    /// As Docker has it: `8080->80/tcp`, `127.0.0.1:8080->80/tcp`.
    public var description: String {
        let place = address.map { $0.contains(":") ? "[\($0)]:" : "\($0):" } ?? ""
        return "\(place)\(hostPort)->\(boxPort)/\(transport.rawValue)"
    }
}

/// `GET /v1/sandboxes`.
public struct SandboxList: Codable, Sendable {
    public var sandboxes: [SandboxInfo]
    public init(sandboxes: [SandboxInfo]) { self.sandboxes = sandboxes }
}

/// `POST /v1/sandboxes/{name}/kill`.
public struct KillRequest: Codable, Sendable {
    /// A signal number for every process but PID 1; nil ends the sandbox's processes, PID 1 included,
    /// and leaves it stopped.
    public var signal: Int32?
    public init(signal: Int32? = nil) { self.signal = signal }
}

/// One piece of output kept for `logs`.
public struct LogRecord: Codable, Sendable {
    /// When it arrived, seconds since 1970.
    public var time: Double
    /// The id of the command that wrote it.
    public var exec: String
    /// `stdout` or `stderr`.
    public var stream: String
    /// The bytes as UTF-8; what is no UTF-8 is replaced by U+FFFD.
    public var text: String
    public init(time: Double, exec: String, stream: String, text: String) {
        self.time = time
        self.exec = exec
        self.stream = stream
        self.text = text
    }
}

/// `GET /v1/sandboxes/{name}/logs`.
public struct LogList: Codable, Sendable {
    public var records: [LogRecord]
    public init(records: [LogRecord]) { self.records = records }
}
