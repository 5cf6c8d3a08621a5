import FoundationEssentials
import LinuxSystem
import Messages
import SandboxRuntime

/// What is written down of a sandbox, at `ROOT/sandboxes/NAME/sandbox.json`, so that a new server finds it.
struct SandboxRecord: Codable, Sendable {
    var name: String
    var spec: SandboxSpec
    /// Seconds since 1970.
    var created: Double
    var state: SandboxState
    /// Its PID 1 while it runs.
    var process: SandboxProcess.Identity?
    /// Counts the root filesystems it has had; names their directories.
    var incarnation: Int
    /// The layers below its upper, lowest first.
    var layers: [String]
    /// The snapshot it stands on.
    var position: String?
    var ground: Ground
    /// What leads out of it, with `nat`; its ports stay its own while it is stopped.
    var wayOut: WayOut.Record?
    /// Whether it was made by a fork: the ports of the host that its spec names are another's.
    var isFork: Bool?
    /// Why it is dead, where it is.
    var reason: String?
    /// What was asked for and is not so.
    var warnings: [String]?

    static func path(in directory: String) -> String { "\(directory)/sandbox.json" }

    func write(to directory: String, durable: Bool) throws(SystemError) {
        guard let bytes = try? JSONEncoder().encode(self) else {
            preconditionFailure("a record always encodes")
        }
        try Files.replace(Self.path(in: directory), Array(bytes), durable: durable)
    }

    init(name: String, spec: SandboxSpec, created: Double, ground: Ground) {
        self.name = name
        self.spec = spec
        self.created = created
        self.ground = ground
        state = .stopped
        incarnation = 0
        layers = []
    }

    /// Nil when the directory holds none that can be read: a create that a crash cut short.
    init?(readingFrom directory: String) {
        guard let bytes = try? Files.read(Self.path(in: directory)),
            let record = try? JSONDecoder().decode(Self.self, from: FoundationEssentials.Data(bytes))
        else { return nil }
        self = record
    }
}

/// What lies under a sandbox's layers and must be the same at every restore.
struct Ground: Codable, Hashable, Sendable {
    /// The version of PID 1.
    var initID: String
    /// The paths of the root's parts: each is an overlay of its own.
    var parts: [String]
}
