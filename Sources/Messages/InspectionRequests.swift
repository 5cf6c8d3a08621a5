/// What `GET /v1/snapshots/{ref}/inspect` is asked for, in its query. Where no part is named, everything is meant.
public struct InspectRequest: Hashable, Sendable {
    /// Only this process, by its pid inside the sandbox.
    public var pid: Int?
    /// The open descriptors.
    public var files: Bool
    /// Of these, the sockets.
    public var sockets: Bool
    /// Each mapping.
    public var memory: Bool
    /// The environment.
    public var environment: Bool
    /// The registers.
    public var registers: Bool

    public init(
        pid: Int? = nil, files: Bool = false, sockets: Bool = false, memory: Bool = false,
        environment: Bool = false,
        registers: Bool = false
    ) {
        self.pid = pid
        self.files = files
        self.sockets = sockets
        self.memory = memory
        self.environment = environment
        self.registers = registers
    }
}

/// What `GET /v1/snapshots/{ref}/memory/bytes` is asked for, in its query.
public struct MemoryReadRequest: Hashable, Sendable {
    /// The most bytes one answer has.
    public static let most = 4 << 20

    /// The process, by its pid inside the sandbox.
    public var pid: Int
    public var address: UInt64
    /// How many bytes, at least 1; an answer may have fewer.
    public var length: Int

    public init(pid: Int, address: UInt64, length: Int) {
        self.pid = pid
        self.address = address
        self.length = length
    }
}

/// What `GET /v1/snapshots/{ref}/memory/search` is asked for, in its query.
public struct MemorySearchRequest: Hashable, Sendable {
    /// What is looked for.
    public enum Pattern: Hashable, Sendable {
        /// These bytes.
        case bytes([UInt8])
        /// An extended regular expression (regex(7)) over bytes; matches are at most 4,096 bytes long.
        case expression(String)
    }

    /// The most matches that can be asked for.
    public static let most = 10_000

    public var pid: Int
    public var pattern: Pattern
    /// How many matches are wanted, 1 to `most`.
    public var limit: Int

    public init(pid: Int, pattern: Pattern, limit: Int = 100) {
        self.pid = pid
        self.pattern = pattern
        self.limit = limit
    }
}

/// What `GET /v1/diff` is asked for, in its query.
public struct DiffRequest: Hashable, Sendable {
    /// The snapshot that is compared with, by any reference.
    public var from: String
    public var to: String
    /// Whether the differences of text files are wanted.
    public var patch: Bool

    public init(from: String, to: String, patch: Bool = false) {
        self.from = from
        self.to = to
        self.patch = patch
    }
}

/// An address as people write it: decimal, or hexadecimal after 0x; nil for anything else.
public func parseAddress(_ text: String) -> UInt64? {
    text.hasPrefix("0x") || text.hasPrefix("0X") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
}

/// Bytes as people write them: pairs of hexadecimal digits, with spaces and colons between them or not; nil for anything
/// else.
public func parseHexBytes(_ text: String) -> [UInt8]? {
    let digits = text.filter { $0 != " " && $0 != ":" }.utf8.map { byte -> UInt8? in
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
    guard !digits.isEmpty, digits.count % 2 == 0, !digits.contains(nil) else { return nil }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0]! << 4 | digits[$0 + 1]! }
}
