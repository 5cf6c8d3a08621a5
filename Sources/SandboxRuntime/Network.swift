import CLinux
import Glibc
import LinuxSystem

/// A sandbox's own network namespace: loopback only.
public enum SandboxNetwork {
    /// MPTCP sockets cannot be checkpointed, and Go listens with them unless the kernel says no; without
    /// CAP_NET_BIND_SERVICE, servers that dropped root still bind low ports.
    ///
    /// By paths below /proc/sys/net.
    static let settings: [String: String] = [
        "mptcp/enabled": "0", "ipv4/ip_unprivileged_port_start": "0", "ipv4/ping_group_range": "0 2147483647",
    ]

    /// Brings loopback up in the namespace of process `pid`, and sets what sandboxes need there.
    public static func prepare(pid: Int32) throws(RuntimeError) {
        let own = try system { () throws(SystemError) -> Descriptor in
            try Descriptor.open("/proc/thread-self/ns/net", O_RDONLY)
        }
        let target = try system { () throws(SystemError) -> Descriptor in
            try Descriptor.open("/proc/\(pid)/ns/net", O_RDONLY)
        }
        var failure = clinux_spawn_failure()
        let texts: [String] = settings.flatMap { ["/proc/sys/net/\($0.key)", $0.value] }
        let strings = texts.map { strdup($0) }
        defer { strings.forEach { free($0) } }
        let pointers = strings.map { UnsafePointer($0) }
        let count = Int32(settings.count)
        if clinux_prepare_network(target.raw, own.raw, pointers, count, &failure) != 0 {
            throw .start(step: "network: \(String(cString: failure.step))", code: failure.code)
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
}
