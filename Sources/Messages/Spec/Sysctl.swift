/// A kernel parameter of a sandbox's own network namespace, as sysctl(8) spells it.
public struct Sysctl: SpelledValue {
    public static let forms = "net.NAME=VALUE, as net.core.somaxconn=1024"

    /// With dots: `net.ipv4.tcp_keepalive_time`.
    public let name: String
    /// What is written to it; never empty.
    public let value: String

    public init(_ text: String) throws(ErrorMessage) {
        guard let sign = text.firstIndex(of: "=") else { throw Self.bad(text) }
        // sysctl(8) takes slashes for dots as well; then a dot is part of a name.
        let name = String(text[..<sign].map { $0 == "." && !text[..<sign].contains("/") ? "/" : $0 })
        value = String(text[text.index(after: sign)...])
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        guard !value.isEmpty, !value.utf8.contains(0), name.utf8.count < 256,
            parts.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." && !$0.utf8.contains(0) })
        else { throw Self.bad(text) }
        guard parts.count > 2, parts[0] == "net" else {
            throw Self.bad(text, "of the kernel's parameters only those below net belong to a sandbox")
        }
        path = parts.dropFirst().joined(separator: "/")
        self.name = text[..<sign].contains("/") ? name : parts.joined(separator: ".")
    }

    /// Below /proc/sys/net: `ipv4/tcp_keepalive_time`.
    public let path: String

    public var description: String { "\(name)=\(value)" }
}
