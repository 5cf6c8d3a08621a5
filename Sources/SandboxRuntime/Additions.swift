import Glibc
import LinuxSystem
public import Messages

/// What a spec puts into a fresh writable layer.
struct Additions: Sendable, Hashable {
    /// Device nodes.
    var devices: [Device] = []
    /// The files below /etc that name other machines; nil where the base's are left.
    var names: NameFiles?
}

/// /etc/hosts and /etc/resolv.conf.
public struct NameFiles: Sendable, Hashable {
    /// Lines of /etc/hosts beyond the usual ones.
    public var hosts: [HostAddress]
    /// What /etc/resolv.conf names; nil leaves the base's file.
    public var nameServers: [String]?

    /// Nil where a spec asks for neither.
    ///
    /// With the host's network and no name servers given, they are those of the host's own file; with a way out to it
    /// those that lead to them.
    public init?(_ spec: SandboxSpec) {
        guard !spec.addHosts.isEmpty || !spec.dns.isEmpty || spec.net != .none else { return nil }
        hosts = spec.addHosts
        if !spec.dns.isEmpty {
            nameServers = spec.dns.map(\.address)
        } else {
            switch spec.net {
            case .none: nameServers = nil
            case .host: nameServers = Self.hostNameServers()
            case .nat: nameServers = SandboxNetwork.usualNameServers()
            }
        }
    }

    /// The name servers of the host's /etc/resolv.conf (resolv.conf(5)).
    public static func hostNameServers() -> [String] {
        let text = String(decoding: (try? Files.read("/etc/resolv.conf")) ?? [], as: UTF8.self)
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(whereSeparator: \.isWhitespace)
            return words.count > 1 && words[0] == "nameserver" ? String(words[1]) : nil
        }
    }

    /// The text of /etc/hosts for a sandbox of that host name.
    public func hostsText(hostname: String) -> String {
        let usual = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
        let own = ["127.0.0.1\t\(hostname)", "::1\t\(hostname)"]
        return (usual + hosts.map { "\($0.address)\t\($0.name)" } + own).map { $0 + "\n" }.joined()
    }

    /// The text of /etc/resolv.conf; nil where the base's is left.
    public var resolverText: String? {
        nameServers.map { $0.map { "nameserver \($0)\n" }.joined() }
    }
}
