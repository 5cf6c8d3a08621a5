/// The read-only root filesystem a sandbox starts from.
public enum Base: Codable, Hashable, Sendable {
    /// The host's own root, under a mask layer that hides its data.
    case host
    /// A directory on the host, by absolute path.
    case directory(String)
}

/// What a sandbox is made of; kept in every snapshot's manifest.
public struct SandboxSpec: Codable, Hashable, Sendable {
    /// Where its root filesystem starts from.
    public var base: Base
    /// The host name inside; the sandbox's own name when nil.
    public var hostname: String?
    /// Environment given to every command, over the built-in PATH, HOME and LANG.
    public var env: [String: String]
    /// The working directory of commands that ask for none; `/root` when nil, `/` where that is missing.
    public var workdir: String?

    /// A spec with every field at its default unless given.
    public init(
        base: Base = .host, hostname: String? = nil, env: [String: String] = [:], workdir: String? = nil
    ) {
        self.base = base
        self.hostname = hostname
        self.env = env
        self.workdir = workdir
    }

    /// Reads a spec of which any field may be missing and then has its default.
    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        base = try fields.decodeIfPresent(Base.self, forKey: .base) ?? .host
        hostname = try fields.decodeIfPresent(String.self, forKey: .hostname)
        env = try fields.decodeIfPresent([String: String].self, forKey: .env) ?? [:]
        workdir = try fields.decodeIfPresent(String.self, forKey: .workdir)
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
