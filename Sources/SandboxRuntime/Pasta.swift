import Glibc
import LinuxSystem
import Messages

/// The pasta program of the Debian package passt, and how it is asked.
public enum Pasta {
    /// Longest that it may take to begin, in nanoseconds.
    private static let patience: UInt64 = 10_000_000_000

    /// Its path: CKPT_PASTA, or where packages put it. Throws `RuntimeError.noPasta`.
    public static func path() throws(RuntimeError) -> String {
        let given = getenv("CKPT_PASTA").map { String(cString: $0) }
        let places = given.map { [$0] } ?? ["/usr/local/bin/pasta", "/usr/bin/pasta"]
        guard let found = places.first(where: { access($0, X_OK) == 0 }) else {
            throw .noPasta(searched: places)
        }
        return found
    }

    /// Starts one on the network namespace of process `pid`, whose device is there already, and returns when it
    /// listens.
    static func start(for pid: Int32, ports: [PublishedPort], in directory: String) throws(RuntimeError)
        -> SandboxProcess
    {
        let program = try path()
        let (told, said) = ("\(directory)/pasta.pid", "\(directory)/pasta.log")
        unlink(told)
        let words = [program] + arguments(pid, ports, told: told)
        let child = try system { () throws(SystemError) in try spawnProgram(words, errors: said) }
        let process = try SandboxProcess.adopt(child)
        // It writes its pid once everything is bound and attached.
        let deadline = monotonicNanoseconds() + patience
        while (try? FileStatus(told))?.size ?? 0 == 0 {
            if process.ended(within: 1) { throw .pasta(reason: reason(in: said)) }
            if monotonicNanoseconds() > deadline {
                process.kill()
                _ = process.ended(within: 5000)
                throw .pasta(reason: "it does not begin")
            }
        }
        return process
    }

    /// Debian 12's version knows all of them. `-T none -U none`: nothing inside reaches what listens on the host's
    /// loopback, as `--no-map-gw` has it for the gateway's address.
    private static func arguments(_ pid: Int32, _ ports: [PublishedPort], told: String) -> [String] {
        var words = [
            "--foreground", "--stderr", "--runas", "0:0", "--ns-ifname", SandboxNetwork.device,
            "--address", SandboxNetwork.address, "--netmask", "24", "--gateway", SandboxNetwork.gateway,
            "--ns-mac-addr", hardwareAddress, "--no-map-gw", "--no-dhcp", "--no-dhcpv6", "--no-ra",
            "--tcp-ns", "none", "--udp-ns", "none", "--pid", told,
        ]
        if SandboxNetwork.hasIPv6Route() {
            words += ["--address", SandboxNetwork.address6, "--gateway", SandboxNetwork.gateway6]
        } else {
            words.append("--ipv4-only")
        }
        // To the first name server in the host's resolv.conf; with --dns Debian's version asks 0.0.0.0.
        words += ["--dns-forward", SandboxNetwork.nameServer]
        for transport in [PortForward.Transport.tcp, .udp] {
            let option = transport == .tcp ? "--tcp-ports" : "--udp-ports"
            let specs = ports.filter { $0.transport == transport }.map { port in
                "\(port.address.map { "\($0)/" } ?? "")\(port.hostPort):\(port.boxPort)"
            }
            for spec in specs.isEmpty ? ["none"] : specs { words += [option, spec] }
        }
        return words + [String(pid)]
    }

    private static var hardwareAddress: String {
        SandboxNetwork.hardwareAddress.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(
            separator: ":")
    }

    /// The last thing it said; what it says of a missing system logger is no reason.
    private static func reason(in file: String) -> String {
        let text = String(decoding: (try? Files.read(file)) ?? [], as: UTF8.self)
        let lines = text.split(separator: "\n").filter { !$0.hasPrefix("Failed to send") && !$0.isEmpty }
        return lines.last.map(String.init) ?? "it ended and said nothing"
    }
}
