/// The read-only root filesystem a sandbox starts from.
public enum Base: Codable, Hashable, Sendable {
    /// The host's own root, under a mask layer that hides its data.
    case host
    /// A directory on the host, by absolute path.
    case directory(String)
}

/// What a sandbox is made of; kept in every snapshot's manifest.
///
/// In JSON any field may be missing and then has its default; fields at their default are left out, but for `base`
/// and `env`.
public struct SandboxSpec: Hashable, Sendable {
    /// Where its root filesystem starts from.
    public var base: Base
    /// The host name inside; the sandbox's own name when nil.
    public var hostname: String?
    /// Environment given to every command, over the built-in PATH, HOME and LC_CTYPE.
    public var env: [String: String]
    /// The working directory of commands that ask for none; `/root` when nil, `/` where that is missing.
    public var workdir: String?
    /// Who commands run as that name nobody: `name`, `uid`, `name:group` or `uid:gid`; root when nil.
    public var user: String?
    /// Words before the command that `run` is given.
    public var entrypoint: [String]
    /// Directories and files of the host.
    public var volumes: [Volume]
    /// Memory-backed directories; snapshots hold what is in them.
    public var tmpfs: [Tmpfs]
    /// Makes /dev/shm memory-backed, with this bound; without it /dev/shm is a directory like others.
    public var shmSize: ByteSize?
    /// Whether the root filesystem cannot be written; volumes and tmpfs can.
    public var readOnly: Bool
    /// Name servers in /etc/resolv.conf; with `nat` the host's when empty.
    public var dns: [NameServer]
    /// Lines added to /etc/hosts.
    public var addHosts: [HostAddress]
    /// Kernel parameters of its network; not with `host`.
    public var sysctls: [Sysctl]
    /// Device nodes of the host.
    public var devices: [Device]
    /// Limits of setrlimit(2) for every process.
    public var ulimits: [Ulimit]
    /// How soon the kernel kills its processes when memory runs out; -1000 to 1000.
    public var oomScoreAdj: Int?
    /// How much of the machine it may use.
    public var limits: ResourceLimits
    /// What its processes are kept from.
    public var security: SecurityOptions
    /// Which network it has.
    public var net: Network
    /// Ports of the host that lead into it; only with `nat`.
    public var ports: [PortForward]
    /// Whether a process that dies of a fatal signal is saved at that instant, tagged `crash-…`.
    public var saveOnCrash: Bool

    /// A spec with every field at its default unless given.
    public init(
        base: Base = .host, hostname: String? = nil, env: [String: String] = [:], workdir: String? = nil
    ) {
        self.base = base
        self.hostname = hostname
        self.env = env
        self.workdir = workdir
        (entrypoint, volumes, tmpfs, readOnly, dns, addHosts) = ([], [], [], false, [], [])
        (sysctls, devices, ulimits, ports, saveOnCrash) = ([], [], [], [], false)
        (limits, security, net) = (ResourceLimits(), SecurityOptions(), .none)
    }
}

extension SandboxSpec: Codable {
    private enum CodingKeys: String, CodingKey {
        case base, hostname, env, workdir, user, entrypoint, volumes, tmpfs, shmSize, readOnly, dns, addHosts
        case sysctls, devices, ulimits, oomScoreAdj, limits, security, net, ports, saveOnCrash
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            base: try fields.decodeIfPresent(Base.self, forKey: .base) ?? .host,
            hostname: try fields.decodeIfPresent(String.self, forKey: .hostname),
            env: try fields.decodeIfPresent([String: String].self, forKey: .env) ?? [:],
            workdir: try fields.decodeIfPresent(String.self, forKey: .workdir))
        func read<Value: Decodable>(_ key: CodingKeys, into place: inout Value) throws {
            if let value = try fields.decodeIfPresent(Value.self, forKey: key) { place = value }
        }
        user = try fields.decodeIfPresent(String.self, forKey: .user)
        try read(.entrypoint, into: &entrypoint)
        try read(.volumes, into: &volumes)
        try read(.tmpfs, into: &tmpfs)
        shmSize = try fields.decodeIfPresent(ByteSize.self, forKey: .shmSize)
        try read(.readOnly, into: &readOnly)
        try read(.dns, into: &dns)
        try read(.addHosts, into: &addHosts)
        try read(.sysctls, into: &sysctls)
        try read(.devices, into: &devices)
        try read(.ulimits, into: &ulimits)
        oomScoreAdj = try fields.decodeIfPresent(Int.self, forKey: .oomScoreAdj)
        try read(.limits, into: &limits)
        try read(.security, into: &security)
        try read(.net, into: &net)
        try read(.ports, into: &ports)
        try read(.saveOnCrash, into: &saveOnCrash)
    }

    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        let usual = SandboxSpec()
        func write<Value: Encodable & Equatable>(_ key: CodingKeys, _ path: KeyPath<SandboxSpec, Value>)
            throws
        {
            if self[keyPath: path] != usual[keyPath: path] {
                try fields.encode(self[keyPath: path], forKey: key)
            }
        }
        try fields.encode(base, forKey: .base)
        try fields.encode(env, forKey: .env)
        try write(.hostname, \.hostname)
        try write(.workdir, \.workdir)
        try write(.user, \.user)
        try write(.entrypoint, \.entrypoint)
        try write(.volumes, \.volumes)
        try write(.tmpfs, \.tmpfs)
        try write(.shmSize, \.shmSize)
        try write(.readOnly, \.readOnly)
        try write(.dns, \.dns)
        try write(.addHosts, \.addHosts)
        try write(.sysctls, \.sysctls)
        try write(.devices, \.devices)
        try write(.ulimits, \.ulimits)
        try write(.oomScoreAdj, \.oomScoreAdj)
        try write(.limits, \.limits)
        try write(.security, \.security)
        try write(.net, \.net)
        try write(.ports, \.ports)
        try write(.saveOnCrash, \.saveOnCrash)
    }
}

extension Base: CustomStringConvertible {
    /// How the command line spells it: `host`, or the directory's path.
    public var description: String {
        switch self {
        case .host: "host"
        case .directory(let path): path
        }
    }

    /// Reads what the command line spells; a relative path is not resolved here.
    public init(_ text: String) {
        self = text == "host" ? .host : .directory(text)
    }

    public init(from decoder: any Decoder) throws {
        self.init(try decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
