import CLinux
import Glibc
import LinuxSystem
public import Messages

/// A sandbox's own network namespace.
///
/// It is set up from outside, and alike at every start, restore and fork: nothing of it is in an image.
public enum SandboxNetwork {
    /// The addresses with `nat`, the same in every sandbox: a restored socket finds its own again.
    public static let address = "10.0.2.100"
    public static let gateway = "10.0.2.2"
    /// Answers as the host's name server does.
    public static let nameServer = "10.0.2.3"
    /// IPv6; unique local (RFC 4193), and a gateway that only neighbour discovery ever sees.
    static let address6 = "fd00:636b:7074::64"
    static let gateway6 = "fe80::1"
    /// The device that leads out, and its address: both are what programs inside remember.
    static let device = "eth0"
    static let hardwareAddress: [UInt8] = [0x02, 0x63, 0x6b, 0x70, 0x74, 0x64]
    /// What pasta gives by default: most of a copy's cost is per packet.
    private static let mtu: UInt32 = 65520

    /// MPTCP sockets cannot be checkpointed, and Go listens with them unless the kernel says no; without
    /// CAP_NET_BIND_SERVICE, servers that dropped root still bind low ports.
    ///
    /// By paths below /proc/sys/net.
    static let settings: [String: String] = [
        "mptcp/enabled": "0", "ipv4/ip_unprivileged_port_start": "0", "ipv4/ping_group_range": "0 2147483647",
    ]

    /// Sets up the network namespace of process `pid` as `spec` wants it; with `host` there is nothing to do.
    public static func prepare(pid: Int32, for spec: SandboxSpec) throws(RuntimeError) {
        if spec.net == .host { return }
        var failure = clinux_spawn_failure()
        let texts: [String] = settings.flatMap { ["/proc/sys/net/\($0.key)", $0.value] }
        let strings = texts.map { strdup($0) }
        let name = strdup(device)
        defer { (strings + [name]).forEach { free($0) } }
        let isRouted = spec.net == .nat && hasIPv6Route()
        let addresses = [
            bytes(address, gateway, AF_INET, prefix: 24, routed: true),
            bytes(address6, gateway6, AF_INET6, prefix: 64, routed: isRouted),
        ]
        let ports = ranges(spec.security.allowPorts ?? [])
        let result = try entering(pid) { target, own in
            strings.map { UnsafePointer($0) }.withUnsafeBufferPointer { strings in
                addresses.withUnsafeBufferPointer { addresses in
                    ports.withUnsafeBufferPointer { ports in
                        var network = clinux_network()
                        network.sysctls = strings.baseAddress
                        network.sysctl_count = Int32(strings.count / 2)
                        network.port_count = spec.security.allowPorts == nil ? -1 : Int32(ports.count)
                        network.ports = ports.baseAddress
                        if spec.net == .nat {
                            network.device = UnsafePointer(name)
                            withUnsafeMutableBytes(of: &network.mac) { $0.copyBytes(from: hardwareAddress) }
                            network.mtu = mtu
                            network.addresses = addresses.baseAddress
                            network.address_count = Int32(addresses.count)
                        }
                        return clinux_prepare_network(target, own, &network, &failure)
                    }
                }
            }
        }
        if result != 0 { throw .start(step: "network: \(String(cString: failure.step))", code: failure.code) }
        let asked = spec.sysctls.map { ($0.path, $0.value) }
        if let left = NetworkSettings.set(Dictionary(asked) { $1 }, in: pid).keys.min() {
            throw .badSysctl(name: "net/\(left)")
        }
    }

    /// Ends the TCP connections that lead out of the network namespace of process `pid`: after a restore there is
    /// nobody at their other end. Returns how many there were.
    @discardableResult
    public static func closeOutsideConnections(pid: Int32) throws(RuntimeError) -> Int {
        var failure = clinux_spawn_failure()
        let ended = try entering(pid) { clinux_close_outside_connections($0, $1, &failure) }
        if ended < 0 { throw .start(step: "network: \(String(cString: failure.step))", code: failure.code) }
        return Int(ended)
    }

    /// The name servers of a sandbox with `nat` that asks for none itself.
    ///
    /// pasta asks the host's name server in the sandbox's stead, but not one on the host's loopback. There, as Docker
    /// does, the sandbox asks those that systemd's resolver would (systemd-resolved(8)).
    static func usualNameServers() -> [String] {
        let isForwarded = !nameServers(in: "/etc/resolv.conf").isEmpty
        return isForwarded ? [nameServer] : nameServers(in: "/run/systemd/resolve/resolv.conf")
    }

    /// The IPv4 name servers of a resolv.conf that are not on the loopback (resolv.conf(5)).
    private static func nameServers(in file: String) -> [String] {
        let text = String(decoding: (try? Files.read(file)) ?? [], as: UTF8.self)
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
            guard words.count >= 2, words[0] == "nameserver", !words[1].hasPrefix("127.") else { return nil }
            var bytes = in_addr()
            return inet_pton(AF_INET, String(words[1]), &bytes) == 1 ? String(words[1]) : nil
        }
    }

    /// Mounts a read-only sysfs at `path` that shows an empty network namespace's devices.
    ///
    /// sysfs shows the network namespace it was mounted in (sysfs(5)); the host's devices are no sandbox's business,
    /// and CRIU cannot mount a fresh one inside a user namespace.
    public static func mountSysfs(at path: String) throws(RuntimeError) {
        try system { () throws(SystemError) in try Files.makeDirectory(path) }
        var failure = clinux_spawn_failure()
        if clinux_mount_private_sysfs(path, &failure) != 0 {
            throw .start(step: "sysfs: \(String(cString: failure.step))", code: failure.code)
        }
    }

    private static func entering(
        _ pid: Int32, _ body: (_ target: Int32, _ own: Int32) -> Int32
    ) throws(RuntimeError) -> Int32 {
        let own = try system { () throws(SystemError) -> Descriptor in
            try Descriptor.open("/proc/thread-self/ns/net", O_RDONLY)
        }
        let target = try system { () throws(SystemError) -> Descriptor in
            try Descriptor.open("/proc/\(pid)/ns/net", O_RDONLY)
        }
        return body(target.raw, own.raw)
    }

    private static func bytes(
        _ address: String, _ gateway: String, _ family: Int32, prefix: Int32, routed: Bool
    ) -> clinux_address {
        var made = clinux_address()
        made.family = family
        made.prefix = prefix
        made.routed = routed ? 1 : 0
        withUnsafeMutableBytes(of: &made.bytes) { _ = inet_pton(family, address, $0.baseAddress) }
        withUnsafeMutableBytes(of: &made.gateway) { _ = inet_pton(family, gateway, $0.baseAddress) }
        return made
    }

    /// The ports in order, neighbours joined.
    static func ranges(_ ports: [UInt16]) -> [clinux_ports] {
        var ranges: [clinux_ports] = []
        for port in Set(ports).sorted() {
            if let last = ranges.last, last.last + 1 == port {
                ranges[ranges.count - 1].last = port
            } else {
                ranges.append(clinux_ports(first: port, last: port))
            }
        }
        return ranges
    }

    /// Whether the host's IPv6 leads anywhere: the line of `::/0` through a device (proc_pid_net(5), ipv6_route).
    static func hasIPv6Route() -> Bool {
        let text = String(decoding: (try? Files.read("/proc/net/ipv6_route")) ?? [], as: UTF8.self)
        return text.split(separator: "\n").contains { line in
            let fields = line.split(separator: " ")
            return fields.count == 10 && fields[0].allSatisfy { $0 == "0" } && fields[1] == "00"
                && fields[9] != "lo"
        }
    }
}
