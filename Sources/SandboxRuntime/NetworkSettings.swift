import Glibc
import LinuxSystem

/// The settings below /proc/sys/net that belong to a network namespace.
///
/// CRIU could save a part of them with the namespace's devices, which takes 20 ms (docs/criu.md); a fresh namespace
/// has them all as the kernel makes them.
public enum NetworkSettings {
    /// What a fresh sandbox has, by paths below /proc/sys/net; read once.
    private static let fresh = Monitor<[String: String]?>(nil)

    /// Begins to look for what differs in the network namespace of process `pid` from a fresh sandbox's; what is
    /// returned waits for the end of that.
    ///
    /// Nothing does where the sandbox may not write to /proc/sys/net, or has no network namespace of its own. It takes
    /// some 2 ms of another processor.
    public static func changes(in pid: Int32) -> () -> [String: String] {
        guard isOwn(pid), isWritable(in: pid) else { return { [:] } }
        let fresh = freshSettings()
        let changes = onThread(in: pid) {
            var changes: [String: String] = [:]
            for (path, value) in fresh {
                if let now = read(path), now != value { changes[path] = now }
            }
            return changes
        }
        return { changes.wait() ?? [:] }
    }

    /// Sets these in the network namespace of process `pid`; returns those that could not be set.
    public static func set(_ settings: [String: String], in pid: Int32) -> [String: String] {
        if settings.isEmpty { return [:] }
        return onThread(in: pid) {
            var left = settings.sorted { $0.key < $1.key }
            // One may stand in the way of another, as the ends of a port range do: then the second round gets it.
            for _ in 1...2 { left = left.filter { !write($0.key, $0.value) } }
            return Dictionary(uniqueKeysWithValues: left)
        }.wait() ?? settings
    }

    private static func isOwn(_ pid: Int32) -> Bool {
        guard let theirs = try? FileStatus("/proc/\(pid)/ns/net"),
            let ours = try? FileStatus("/proc/self/ns/net")
        else { return false }
        return theirs.inode != ours.inode
    }

    /// Whether /proc/sys is not mounted read-only in the sandbox.
    private static func isWritable(in pid: Int32) -> Bool {
        let file = try? Descriptor.open("/proc/\(pid)/root/proc/sys/net/ipv4/ip_forward", O_WRONLY)
        return file != nil
    }

    private static func freshSettings() -> [String: String] {
        fresh.with { known in
            if let known { return known }
            let made: [String: String] =
                onThread {
                    // Some depend on the sizes of its tables.
                    if let nursery = NetworkNursery.shared { setns(nursery.inside, CLONE_NEWNET) }
                    guard unshare(CLONE_NEWNET) == 0 else { return [:] }
                    for (path, value) in SandboxNetwork.settings { _ = write(path, value) }
                    var settings: [String: String] = [:]
                    for path in watched() { settings[path] = read(path) }
                    return settings
                }.wait() ?? [:]
            known = made
            return made
        }
    }

    /// All that hold for a whole namespace, and of those for its devices what people set.
    private static func watched() -> [String] {
        var found: [String] = []
        for directory in ["core", "ipv4", "ipv6", "mptcp", "unix"] {
            for name in (try? Files.names(in: "/proc/sys/net/\(directory)")) ?? [] {
                guard let status = try? FileStatus("/proc/sys/net/\(directory)/\(name)"), status.isRegular,
                    // Not what can only be read, what is random and what only acts.
                    status.mode & S_IWUSR != 0, name != "tcp_fastopen_key", name != "flush"
                else { continue }
                found.append("\(directory)/\(name)")
            }
        }
        let ofDevices = [
            "ipv4": [
                "accept_local", "arp_ignore", "arp_announce", "route_localnet", "rp_filter", "send_redirects",
            ],
            "ipv6": ["disable_ipv6", "accept_ra", "forwarding"],
        ]
        for (directory, names) in ofDevices {
            for devices in ["all", "default"] {
                found += names.map { "\(directory)/conf/\(devices)/\($0)" }
            }
        }
        return found
    }

    private static func read(_ path: String) -> String? {
        guard let bytes = try? Files.read("/proc/sys/net/\(path)") else { return nil }
        return String(decoding: bytes.prefix { $0 != 10 }, as: UTF8.self)
    }

    private static func write(_ path: String, _ value: String) -> Bool {
        guard let file = try? Descriptor.open("/proc/sys/net/\(path)", O_WRONLY) else { return false }
        return (try? file.writeAll(Array(value.utf8))) != nil
    }

    private static func enter(_ pid: Int32) -> Bool {
        guard let network = try? Descriptor.open("/proc/\(pid)/ns/net", O_RDONLY) else { return false }
        return setns(network.raw, CLONE_NEWNET) == 0
    }

    /// /proc/sys/net shows the network namespace of the thread that opens it: so a thread of its own enters, and ends.
    static func onThread<Result: Sendable>(
        in pid: Int32? = nil, _ body: @escaping @Sendable () -> Result
    ) -> Meanwhile<Result?, Never> {
        Meanwhile { () throws(Never) in pid.map(enter) ?? true ? body() : nil }
    }
}
