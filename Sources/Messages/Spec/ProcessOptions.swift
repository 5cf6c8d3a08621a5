/// A limit of setrlimit(2) for every process: `NAME=SOFT[:HARD]`.
public struct Ulimit: SpelledValue {
    public static let forms =
        "NAME=SOFT[:HARD] with whole numbers or -1 for none, as nofile=1024:4096; NAME is one of "
        + names.map(\.name).joined(separator: ", ")

    /// Names as Docker has them, and the numbers of asm-generic/resource.h.
    public static let names: [(name: String, number: Int32)] = [
        ("cpu", 0), ("fsize", 1), ("data", 2), ("stack", 3), ("core", 4), ("rss", 5), ("nproc", 6),
        ("nofile", 7), ("memlock", 8), ("locks", 10), ("sigpending", 11), ("msgqueue", 12), ("nice", 13),
        ("rtprio", 14), ("rttime", 15),
    ]

    public let name: String
    /// In the limit's own unit (getrlimit(2)); nil for none.
    public let soft: UInt64?
    public let hard: UInt64?

    public init(_ text: String) throws(ErrorMessage) {
        let halves = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard halves.count == 2, Self.names.contains(where: { $0.name == halves[0] }) else {
            throw Self.bad(text)
        }
        let values = halves[1].split(separator: ":", omittingEmptySubsequences: false)
        guard (1...2).contains(values.count) else { throw Self.bad(text) }
        name = String(halves[0])
        soft = try Self.number(values[0], in: text)
        hard = try Self.number(values[values.count - 1], in: text)
        if let hard, hard < soft ?? .max { throw Self.bad(text, "the soft limit is above the hard one") }
    }

    private static func number(_ text: Substring, in whole: String) throws(ErrorMessage) -> UInt64? {
        if text == "-1" || text == "unlimited" { return nil }
        guard let number = UInt64(text), number < .max else { throw bad(whole, "'\(text)' is no number") }
        return number
    }

    /// The number for setrlimit(2).
    public var number: Int32 { Self.names.first { $0.name == name }!.number }

    public var description: String {
        let values = [soft, hard].map { $0.map(String.init) ?? "-1" }
        return "\(name)=" + (soft == hard ? values[0] : values.joined(separator: ":"))
    }
}

/// A capability of capabilities(7), or `ALL`.
public struct Capability: SpelledValue {
    public static let forms = "ALL or a name of capabilities(7), with or without CAP_, as NET_ADMIN"

    /// In the order of linux/capability.h: the index is the number.
    public static let names = [
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
        "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
        "CHECKPOINT_RESTORE",
    ]

    /// What a command has when nothing is said: Docker's default set.
    public static let usual = [
        "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP",
        "SETPCAP",
        "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
    ]

    /// Without CAP_, in capitals; or `ALL`.
    public let name: String

    public init(_ text: String) throws(ErrorMessage) {
        let upper = text.uppercased()
        let name = upper.hasPrefix("CAP_") ? String(upper.dropFirst(4)) : upper
        guard name == "ALL" || Self.names.contains(name) else { throw Self.bad(text) }
        self.name = name
    }

    /// The bits it stands for.
    public var mask: UInt64 { name == "ALL" ? Self.mask(Self.names) : Self.mask([name]) }

    /// One bit for each name.
    public static func mask(_ wanted: [String]) -> UInt64 {
        wanted.reduce(0) { $0 | 1 << UInt64(names.firstIndex(of: $1)!) }
    }

    public var description: String { name }
}
