/// Which network a sandbox has.
public enum Network: String, SpelledValue, CaseIterable {
    public static let forms = "none, host or nat (bridge means nat)"

    /// Its own, with nothing but loopback.
    case none
    /// The host's.
    case host
    /// Its own, with a way out through the host's addresses and forwarded ports.
    case nat

    public init(_ text: String) throws(ErrorMessage) {
        guard let network = Network(rawValue: text == "bridge" ? "nat" : text) else { throw Self.bad(text) }
        self = network
    }

    // Said here because an enumeration would get the compiler's own.
    public init(from decoder: any Decoder) throws {
        try self.init(spelledIn: decoder.singleValueContainer())
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }

    public var description: String { rawValue }
}

/// A port of the host that leads into a sandbox: `[ADDRESS:][HOST:]BOX[/tcp|udp]`.
public struct PortForward: SpelledValue {
    public static let forms =
        "[ADDRESS:][HOST:]BOX[/tcp|/udp], as 8080:80, 127.0.0.1:8080:80/udp, or 80 for a free port of the host"

    /// Which transport.
    public enum Transport: String, Codable, Sendable { case tcp, udp }

    /// The host's address it listens on; every one when nil.
    public let address: String?
    /// The host's port; a free one is chosen when nil, and another by each fork.
    public let hostPort: UInt16?
    /// The port inside.
    public let boxPort: UInt16
    public let transport: Transport

    public init(address: String? = nil, hostPort: UInt16?, boxPort: UInt16, transport: Transport = .tcp) {
        self.address = address
        self.hostPort = hostPort
        self.boxPort = boxPort
        self.transport = transport
    }

    public init(_ text: String) throws(ErrorMessage) {
        let halves = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let transport = Transport(rawValue: halves.count == 2 ? String(halves[1]) : "tcp") else {
            throw Self.bad(text, "'\(halves[1])' is neither tcp nor udp")
        }
        var rest = halves[0]
        var address: String?
        if rest.hasPrefix("["), let end = rest.firstIndex(of: "]") {
            address = String(rest[rest.index(after: rest.startIndex)..<end])
            rest = rest[rest.index(after: end)...]
            guard rest.hasPrefix(":") else { throw Self.bad(text) }
            rest = rest.dropFirst()
        }
        var fields = rest.split(separator: ":", omittingEmptySubsequences: false)
        if fields.count == 3, address == nil { address = String(fields.removeFirst()) }
        guard (1...2).contains(fields.count), let boxPort = UInt16(fields[fields.count - 1]), boxPort > 0
        else {
            throw Self.bad(text)
        }
        var hostPort: UInt16?
        if fields.count == 2, !fields[0].isEmpty, fields[0] != "0" {
            guard let port = UInt16(fields[0]) else { throw Self.bad(text, "'\(fields[0])' is no port") }
            hostPort = port
        }
        if let given = address, !isAddress(given) { throw Self.bad(text, "'\(given)' is no address") }
        self.init(address: address, hostPort: hostPort, boxPort: boxPort, transport: transport)
    }

    public var description: String {
        let place = address.map { $0.contains(":") ? "[\($0)]:" : "\($0):" } ?? ""
        let host = hostPort.map { "\($0):" } ?? (address == nil ? "" : ":")
        return "\(place)\(host)\(boxPort)/\(transport.rawValue)"
    }
}

/// A line of /etc/hosts: `NAME:ADDRESS`.
public struct HostAddress: SpelledValue {
    public static let forms = "NAME:ADDRESS, as db:10.0.0.7 or db:fd00::7"

    public let name: String
    /// IPv4 or IPv6, as text.
    public let address: String

    public init(_ text: String) throws(ErrorMessage) {
        let separator = text.firstIndex { $0 == ":" || $0 == "=" }
        guard let separator else { throw Self.bad(text) }
        let name = text[..<separator]
        var address = text[text.index(after: separator)...]
        if address.hasPrefix("["), address.hasSuffix("]") { address = address.dropFirst().dropLast() }
        guard isHostname(name) else { throw Self.bad(text, "'\(name)' is no host name") }
        guard isAddress(address) else { throw Self.bad(text, "'\(address)' is no address") }
        self.name = String(name)
        self.address = String(address)
    }

    public var description: String { "\(name):\(address)" }
}

/// The address of a name server.
public struct NameServer: SpelledValue {
    public static let forms = "an IPv4 or IPv6 address, as 1.1.1.1"

    public let address: String

    public init(_ text: String) throws(ErrorMessage) {
        guard isAddress(text) else { throw Self.bad(text) }
        address = text
    }

    public var description: String { address }
}

/// A name that can stand in /etc/hosts: letters, digits, `.`, `-` and `_`, 253 bytes at most.
func isHostname(_ text: some StringProtocol) -> Bool {
    (1...253).contains(text.utf8.count) && !text.hasPrefix("-")
        && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0)) }
}
