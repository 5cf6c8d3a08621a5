import Glibc
import LinuxSystem

/// A part of /proc or /sys that a sandbox does not see, or may not write.
///
/// In a sandbox's user namespace every id is mapped to itself, so root inside is whom the kernel's files there let
/// write: without these mounts it could panic the host through /proc/sysrq-trigger, or name a program for
/// /proc/sys/kernel/core_pattern. What is bound comes from mounts of ours whose superblocks are read-only: nobody
/// inside can make them writable again.
public struct PathMask: Sendable, Hashable {
    /// Below the root: `proc/kcore`.
    public let path: String
    /// The mount, directory or file of ours that lies on it.
    public let source: String
    public var key: String { RootMount.key("mask", path) }
    /// Whether writing there would change the host, and not just tell of it.
    var guardsHost: Bool { Self.locked.contains(path) }

    /// As Docker's (github.com/moby/moby, daemon/pkg/oci/defaults.go).
    static let hidden = [
        "proc/acpi", "proc/asound", "proc/interrupts", "proc/kcore", "proc/keys", "proc/latency_stats",
        "proc/sched_debug", "proc/scsi", "proc/timer_list", "proc/timer_stats", "sys/firmware",
        "sys/devices/virtual/powercap",
    ]
    static let locked = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"]

    /// What lies there anyway, writable again: it shows the network namespace of whoever looks (sysctl_net.c), and lets
    /// only that be changed.
    static let ownNetwork = PathMask(path: "proc/sys/net", source: "/proc/sys/net")

    /// Makes what is bound, below `workspace`: a proc, and an empty file and directory. What this kernel has not is
    /// left out.
    static func prepare(in workspace: String, sysfs: String) throws(RuntimeError) -> [PathMask] {
        let (proc, empty) = ("\(workspace)/proc", "\(workspace)/empty")
        return try system { () throws(SystemError) in
            try Files.makeDirectory(proc)
            try Mount.readOnlyProc(at: proc)
            try Files.makeDirectory(empty)
            try Mount.tmpfs(at: empty, size: "64k")
            try Files.makeDirectory("\(empty)/directory", mode: 0o555)
            try Files.write("\(empty)/file", [], mode: 0o444)
            try Mount.makeReadOnly(empty)
            let hidden = hidden.compactMap { path -> PathMask? in
                let seen = path.hasPrefix("sys/") ? "\(sysfs)/\(path.dropFirst(4))" : "/\(path)"
                guard let status = try? FileStatus(seen, follow: false) else { return nil }
                return PathMask(
                    path: path, source: status.isDirectory ? "\(empty)/directory" : "\(empty)/file")
            }
            let locked = locked.filter { Files.exists("/\($0)") }.map {
                PathMask(path: $0, source: "\(workspace)/\($0)")
            }
            return hidden + locked
        }
    }
}
