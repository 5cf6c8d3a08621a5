/// A directory or file of the host that is shown inside: `HOST:BOX[:ro|rw|cow]`.
public struct Volume: SpelledValue {
    public static let forms = "HOST:BOX[:ro|rw|cow] with two absolute paths, as /srv/data:/data:ro"

    /// What a sandbox may do to the host's files.
    public enum Mode: String, Codable, Sendable, CaseIterable {
        /// Read and write them; no snapshot holds or rolls back what it wrote.
        case rw
        /// Only read them.
        case ro
        /// Change a copy of its own, which snapshots capture; the host's files are never written.
        case cow
    }

    /// On the host; absolute.
    public let host: String
    /// Where it is shown inside; absolute and not `/`.
    public let path: String
    public let mode: Mode

    public init(host: String, path: String, mode: Mode = .rw) {
        self.host = host
        self.path = path
        self.mode = mode
    }

    public init(_ text: String) throws(ErrorMessage) {
        let fields = text.split(separator: ":", omittingEmptySubsequences: false)
        guard (2...3).contains(fields.count) else { throw Self.bad(text) }
        guard isUsablePath(fields[0]) else { throw Self.bad(text, "'\(fields[0])' is no absolute path") }
        guard isUsablePath(fields[1]), tidied(fields[1]) != "/" else {
            throw Self.bad(text, "'\(fields[1])' is no absolute path below /")
        }
        var mode = Mode.rw
        // Docker's z and Z relabel for SELinux, which there is nothing of here.
        for word in (fields.count == 3 ? fields[2] : "rw").split(separator: ",")
        where word != "z" && word != "Z" {
            guard let named = Mode(rawValue: String(word)) else {
                throw Self.bad(text, "'\(word)' is none of ro, rw and cow")
            }
            mode = named
        }
        self.init(host: tidied(fields[0]), path: tidied(fields[1]), mode: mode)
    }

    public var description: String { "\(host):\(path):\(mode.rawValue)" }
}

/// A memory-backed directory with a bound: `PATH[:size=S][,mode=M][,exec]`.
public struct Tmpfs: SpelledValue {
    public static let forms =
        "PATH[:OPTION,…] with the options size=SIZE, mode=OCTAL, exec and noexec, as /scratch:size=64m"

    /// Inside; absolute and not `/`.
    public let path: String
    /// The most it holds; half of the machine's memory when nil, as the kernel has it.
    public let size: ByteSize?
    /// Permission bits of its root; 0o1777 when nil.
    public let mode: UInt32?
    /// Whether programs in it can be run. As for Docker they cannot unless asked for.
    public let exec: Bool

    public init(path: String, size: ByteSize? = nil, mode: UInt32? = nil, exec: Bool = false) {
        self.path = path
        self.size = size
        self.mode = mode
        self.exec = exec
    }

    public init(_ text: String) throws(ErrorMessage) {
        let halves = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard isUsablePath(halves[0]), tidied(halves[0]) != "/" else {
            throw Self.bad(text, "'\(halves[0])' is no absolute path below /")
        }
        var (size, mode, exec) = (ByteSize?.none, UInt32?.none, false)
        for option in halves.count == 2 ? halves[1].split(separator: ",") : [] {
            let parts = option.split(separator: "=", maxSplits: 1).map(String.init)
            switch (parts[0], parts.count) {
            case ("size", 2): size = try ByteSize(parts[1])
            case ("mode", 2):
                guard let bits = UInt32(parts[1], radix: 8), bits <= 0o7777 else {
                    throw Self.bad(text, "mode \(parts[1]) is no octal number up to 7777")
                }
                mode = bits
            case ("exec", 1): exec = true
            case ("noexec", 1): exec = false
            // What it is anyway.
            case ("rw", 1), ("nosuid", 1), ("nodev", 1): break
            default: throw Self.bad(text, "unknown option '\(option)'")
            }
        }
        self.init(path: tidied(halves[0]), size: size, mode: mode, exec: exec)
    }

    public var description: String {
        var options: [String] = []
        if let size { options.append("size=\(size)") }
        if let mode { options.append("mode=" + String(mode, radix: 8)) }
        if exec { options.append("exec") }
        return options.isEmpty ? path : "\(path):" + options.joined(separator: ",")
    }
}

/// A device node of the host that is there inside too: `HOST[:BOX][:PERMISSIONS]`.
public struct Device: SpelledValue {
    public static let forms = "HOST[:BOX][:rwm] with absolute paths, as /dev/fuse or /dev/sdb:/dev/disk:r"

    /// On the host; absolute.
    public let host: String
    /// Inside; absolute.
    public let path: String
    /// Some of `r`, `w` and `m`; they become the node's permission bits (m, to make it, is never given).
    public let permissions: String

    public init(host: String, path: String? = nil, permissions: String = "rwm") {
        self.host = host
        self.path = path ?? host
        self.permissions = permissions
    }

    public init(_ text: String) throws(ErrorMessage) {
        var fields = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        var permissions = "rwm"
        if fields.count > 1, let last = fields.last, !last.hasPrefix("/") {
            guard !last.isEmpty, last.allSatisfy("rwm".contains), Set(last).count == last.count else {
                throw Self.bad(text, "'\(last)' is not made of r, w and m")
            }
            permissions = last
            fields.removeLast()
        }
        guard (1...2).contains(fields.count), fields.allSatisfy(isUsablePath) else { throw Self.bad(text) }
        let path = tidied(fields.last!)
        guard path != "/" else { throw Self.bad(text) }
        self.init(host: tidied(fields[0]), path: path, permissions: permissions)
    }

    public var description: String {
        (host == path ? host : "\(host):\(path)") + (permissions == "rwm" ? "" : ":\(permissions)")
    }
}
