/// What the processes of a sandbox are kept from, beyond its namespaces.
public struct SecurityOptions: Codable, Hashable, Sendable {
    /// Capabilities given beyond Docker's default set; within the sandbox's own user namespace only.
    public var capAdd: [Capability]
    /// Capabilities taken away; a name in both lists is taken away, and ALL here leaves just what is added.
    public var capDrop: [Capability]
    /// Which system calls are refused.
    public var seccomp: SeccompChoice
    /// Whether set-uid programs and file capabilities give nothing (prctl(2), PR_SET_NO_NEW_PRIVS).
    public var noNewPrivileges: Bool
    /// Whether the parts of /proc and /sys that Docker hides are hidden; what it makes read-only always is.
    public var maskPaths: Bool
    /// The only places that may be written, with all below them; anywhere when nil.
    public var writable: [String]?
    /// The only places that may be read besides those writable, with all below them; anywhere when nil.
    public var readable: [String]?
    /// The only ports that may be connected to; any when nil.
    public var allowPorts: [UInt16]?

    /// Every wall up.
    public init() {
        capAdd = []
        capDrop = []
        seccomp = .usual
        noNewPrivileges = true
        maskPaths = true
    }

    /// What `docker run --privileged` loosens. As there, it is for code that may be root of the machine.
    public mutating func makePrivileged() {
        capAdd = [try! Capability("ALL")]
        seccomp = .unconfined
        noNewPrivileges = false
        maskPaths = false
    }

    /// The capabilities of every command, one bit each.
    public var capabilities: UInt64 {
        let dropsAll = capDrop.contains { $0.name == "ALL" }
        let added = capAdd.reduce(UInt64(0)) { $0 | $1.mask }
        let dropped = capDrop.filter { $0.name != "ALL" }.reduce(UInt64(0)) { $0 | $1.mask }
        let walled = allowPorts == nil ? 0 : Self.pastTheWall.reduce(UInt64(0)) { $0 | $1.mask }
        return ((dropsAll ? 0 : Capability.mask(Capability.usual)) | added) & ~dropped & ~walled
    }

    /// With these a process takes down the wall around the ports, or sends what no wall sees.
    private static let pastTheWall = [try! Capability("NET_ADMIN"), try! Capability("NET_RAW")]

    private enum CodingKeys: String, CodingKey {
        case capAdd, capDrop, seccomp, noNewPrivileges, maskPaths, writable, readable, allowPorts
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        capAdd = try fields.decodeIfPresent([Capability].self, forKey: .capAdd) ?? []
        capDrop = try fields.decodeIfPresent([Capability].self, forKey: .capDrop) ?? []
        seccomp = try fields.decodeIfPresent(SeccompChoice.self, forKey: .seccomp) ?? .usual
        noNewPrivileges = try fields.decodeIfPresent(Bool.self, forKey: .noNewPrivileges) ?? true
        maskPaths = try fields.decodeIfPresent(Bool.self, forKey: .maskPaths) ?? true
        writable = try fields.decodeIfPresent([String].self, forKey: .writable)
        readable = try fields.decodeIfPresent([String].self, forKey: .readable)
        allowPorts = try fields.decodeIfPresent([UInt16].self, forKey: .allowPorts)
    }

    func check() throws(ErrorMessage) {
        let given = capAdd.filter { ["ALL"].contains($0.name) || Self.pastTheWall.contains($0) }
        if allowPorts != nil, let first = given.first {
            throw ErrorMessage(
                .badValue, "with the capability \(first) a process gets past the ports that are allowed",
                hint: "leave out --cap-add \(first) (or --privileged), or --allow-port")
        }
        for path in (writable ?? []) + (readable ?? []) where !isUsablePath(path) {
            throw ErrorMessage(
                .badValue, "bad value '\(path)'", hint: "it must be an absolute path without ..",
                cause: "what may be read or written is named by its path inside")
        }
        if let allowPorts, allowPorts.contains(0) {
            throw ErrorMessage(.badValue, "port 0 cannot be connected to", hint: "1 to 65535")
        }
    }
}

/// Which seccomp filter commands run under: `default`, `unconfined`, or a profile as Docker's JSON.
public enum SeccompChoice: SpelledValue {
    public static let forms = "default, unconfined, or the text of a profile in Docker's JSON format"

    /// ckpt's own: what Docker refuses by default, io_uring, and what CRIU could not save.
    case usual
    case unconfined
    /// A profile in Docker's JSON format, whole.
    case profile(String)

    public init(_ text: String) throws(ErrorMessage) {
        switch text {
        case "default", "builtin": self = .usual
        case "unconfined": self = .unconfined
        default:
            guard text.first(where: { !$0.isWhitespace }) == "{" else { throw Self.bad(text) }
            self = .profile(text)
        }
    }

    // Said here because an enumeration would get the compiler's own.
    public init(from decoder: any Decoder) throws {
        try self.init(spelledIn: decoder.singleValueContainer())
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }

    public var description: String {
        switch self {
        case .usual: "default"
        case .unconfined: "unconfined"
        case .profile(let text): text
        }
    }
}
