import Criu
import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime
import SnapshotTree

extension CheckpointManager {
    public func version() throws(ErrorMessage) -> VersionInfo {
        VersionInfo(
            version: Product.version, format: Product.storeFormat, api: Product.api, pid: getpid(),
            durability: store.durability)
    }

    /// Looks at what ckpt needs of this machine.
    public func doctor() throws(ErrorMessage) -> DoctorReport {
        DoctorReport(checks: [
            criuCheck(), initCheck(), Self.kernelCheck(), Self.rightsCheck(), Self.namespaceCheck(),
            Self.filesystemCheck(), storeCheck(), runCheck(),
            Self.networkCheck(),
        ])
    }

    private func criuCheck() -> DoctorCheck {
        do throws(CriuError) {
            let binary = try criu()
            let version: CriuVersion
            do throws(CriuError) { version = try binary.version() } catch {
                return DoctorCheck(
                    name: "criu", status: .failed,
                    detail: "\(binary.path) does not answer as CRIU does: \(error)",
                    hint: error.binaryHint ?? "run scripts/fetch-criu")
            }
            let proof = binary.isPinned ? "SHA-256 as pinned" : "given by CKPT_CRIU, digest not checked"
            guard version == CriuPin.version else {
                return DoctorCheck(
                    name: "criu", status: .warning, detail: "CRIU \(version) at \(binary.path), \(proof)",
                    hint: "ckpt is tested with CRIU \(CriuPin.version)")
            }
            return DoctorCheck(
                name: "criu", status: .ok, detail: "CRIU \(version) at \(binary.path), \(proof)")
        } catch {
            return DoctorCheck(name: "criu", status: .failed, detail: error.message, hint: error.hint)
        }
    }

    private func initCheck() -> DoctorCheck {
        DoctorCheck(name: "ckpt-init", status: .ok, detail: "version \(initProgram.currentID)")
    }

    /// 5.11 brings time namespaces that a sandbox's first process can be started in, and overlayfs options we need.
    private static func kernelCheck() -> DoctorCheck {
        let numbers = Host.kernel.split(whereSeparator: { !$0.isNumber }).prefix(2).compactMap { Int($0) }
        let isNew = numbers.count == 2 && (numbers[0], numbers[1]) >= (5, 11)
        return DoctorCheck(
            name: "kernel", status: isNew ? .ok : .failed,
            detail: "Linux \(Host.kernel) on \(Host.architecture)",
            hint: isNew ? nil : "Linux 5.11 or newer is needed")
    }

    /// What CRIU and the making of namespaces and mounts take (capabilities(7)), by their numbers.
    private static let neededCapabilities = [
        0: "CAP_CHOWN", 1: "CAP_DAC_OVERRIDE", 3: "CAP_FOWNER", 5: "CAP_KILL", 6: "CAP_SETGID",
        7: "CAP_SETUID",
        8: "CAP_SETPCAP", 12: "CAP_NET_ADMIN", 18: "CAP_SYS_CHROOT", 19: "CAP_SYS_PTRACE",
        21: "CAP_SYS_ADMIN",
        27: "CAP_MKNOD",
    ]

    private static func rightsCheck() -> DoctorCheck {
        guard geteuid() == 0 else {
            return DoctorCheck(
                name: "rights", status: .failed, detail: "the server runs as uid \(geteuid())",
                hint: "run ckpt as root")
        }
        let status = String(decoding: (try? Files.read("/proc/self/status")) ?? [], as: UTF8.self)
        let line = status.split(separator: "\n").first { $0.hasPrefix("CapEff:") }
        let held = line?.split(separator: "\t").last.flatMap { UInt64($0, radix: 16) } ?? 0
        let missing = neededCapabilities.keys.sorted().filter { held & 1 << UInt64($0) == 0 }
            .compactMap { neededCapabilities[$0] }
        return missing.isEmpty
            ? DoctorCheck(name: "rights", status: .ok, detail: "the server runs as root with what it needs")
            : DoctorCheck(
                name: "rights", status: .failed,
                detail: "the server runs as root without \(missing.joined(separator: ", "))",
                hint: "start it with all capabilities (docker run --privileged, no CapabilityBoundingSet=)")
    }

    private static func namespaceCheck() -> DoctorCheck {
        let kinds = ["user", "pid", "mnt", "uts", "ipc", "net", "time", "cgroup"]
        let missing = kinds.filter { !Files.exists("/proc/self/ns/\($0)") }
        let limit = (try? Files.read("/proc/sys/user/max_user_namespaces"))
            .map { String(decoding: $0, as: UTF8.self).split(separator: "\n").first ?? "" }
        if !missing.isEmpty {
            return DoctorCheck(
                name: "namespaces", status: .failed,
                detail: "this kernel has no \(missing.joined(separator: ", ")) namespaces",
                hint: "use a kernel with all of them")
        }
        if limit == "0" {
            return DoctorCheck(
                name: "namespaces", status: .failed, detail: "user namespaces are switched off",
                hint: "sysctl user.max_user_namespaces=10000")
        }
        return DoctorCheck(name: "namespaces", status: .ok, detail: kinds.joined(separator: ", "))
    }

    private static func filesystemCheck() -> DoctorCheck {
        let known = String(decoding: (try? Files.read("/proc/filesystems")) ?? [], as: UTF8.self)
        let there = known.contains("\toverlay\n")
        return DoctorCheck(
            name: "overlayfs", status: there ? .ok : .failed,
            detail: there ? "in this kernel" : "not in this kernel",
            hint: there ? nil : "modprobe overlay")
    }

    private func storeCheck() -> DoctorCheck {
        var status = statvfs()
        guard statvfs(root, &status) == 0 else {
            return DoctorCheck(
                name: "store", status: .failed, detail: SystemError.last("statvfs", root).description)
        }
        let free = UInt64(status.f_bavail) * UInt64(status.f_frsize)
        let detail = "\(root), \(free >> 20) MiB free, durability \(store.durability.rawValue)"
        return free < 1 << 30
            ? DoctorCheck(
                name: "store", status: .warning, detail: detail, hint: "ckpt gc, or give it more room")
            : DoctorCheck(name: "store", status: .ok, detail: detail)
    }

    private static func networkCheck() -> DoctorCheck {
        do throws(RuntimeError) {
            return DoctorCheck(
                name: "network", status: access("/dev/net/tun", R_OK | W_OK) == 0 ? .ok : .warning,
                detail: access("/dev/net/tun", R_OK | W_OK) == 0
                    ? "pasta at \(try Pasta.path())" : "/dev/net/tun cannot be opened",
                hint: access("/dev/net/tun", R_OK | W_OK) == 0 ? nil : "modprobe tun; --net nat needs it")
        } catch {
            return DoctorCheck(
                name: "network", status: .warning, detail: error.message.message, hint: error.message.hint)
        }
    }

    private func runCheck() -> DoctorCheck {
        let kept = Mount.isTmpfs("/run")
        return DoctorCheck(
            name: "criu cache", status: kept ? .ok : .warning,
            detail: kept ? "CRIU keeps what it probed of the kernel" : "CRIU probes the kernel at every call",
            hint: kept ? nil : "without a tmpfs on /run each save and restore takes 20 to 40 ms more")
    }
}
