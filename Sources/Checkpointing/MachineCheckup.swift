import CLinux
import Criu
import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime

/// What ckpt needs of a machine, looked at without a server.
public enum MachineCheckup {
    /// Everything that can be told where no server could be started.
    public static func withoutServer(root: String) -> DoctorReport {
        DoctorReport(checks: [criu()] + kernelAndLimits() + StoreCheckup(root: root).checks())
    }

    static func kernelAndLimits() -> [DoctorCheck] {
        [kernel(), criuNeeds(), rights(), namespaces(), overlay(), seccomp(), landlock()]
            + LimitCheckup.checks()
            + [network(), criuCache(), gdb()]
    }

    /// The CRIU program: there, the right one, answering.
    static func criu() -> DoctorCheck {
        do throws(CriuError) {
            let binary = try CriuBinary.find()
            let version: CriuVersion
            do throws(CriuError) { version = try binary.version() } catch {
                return DoctorCheck(
                    name: "criu", status: .failed,
                    detail: "\(binary.path) does not answer as CRIU does: \(error)",
                    hint: error.binaryHint ?? "run scripts/fetch-criu")
            }
            let proof = binary.isPinned ? "SHA-256 as pinned" : "given by CKPT_CRIU, digest not checked"
            let detail = "CRIU \(version) at \(binary.path), \(proof)"
            guard version == CriuPin.version else {
                return DoctorCheck(
                    name: "criu", status: .warning, detail: detail,
                    hint: "ckpt is tested with CRIU \(CriuPin.version)")
            }
            return DoctorCheck(name: "criu", status: .ok, detail: detail)
        } catch {
            return DoctorCheck(name: "criu", status: .failed, detail: error.message, hint: error.hint)
        }
    }

    /// What CRIU itself finds of the kernel.
    private static func criuNeeds() -> DoctorCheck {
        do throws(CriuError) {
            let complaints = try CriuBinary.find().checkKernel()
            return complaints.isEmpty
                ? DoctorCheck(
                    name: "criu check", status: .ok, detail: "CRIU finds all it needs in this kernel")
                : DoctorCheck(
                    name: "criu check", status: .failed, detail: complaints.joined(separator: "; "),
                    hint: "use a kernel that is built with CONFIG_CHECKPOINT_RESTORE and what CRIU names")
        } catch {
            return DoctorCheck(
                name: "criu check", status: .failed, detail: error.message, hint: error.hint ?? "see criu")
        }
    }

    /// 5.11 brings time namespaces that a sandbox's first process can be started in, and overlayfs options we need.
    private static func kernel() -> DoctorCheck {
        let numbers = Host.kernel.split(whereSeparator: { !$0.isNumber }).prefix(2).compactMap { Int($0) }
        let detail = "Linux \(Host.kernel) on \(Host.architecture)"
        guard numbers.count == 2, (numbers[0], numbers[1]) >= (5, 11) else {
            return DoctorCheck(
                name: "kernel", status: .failed, detail: detail, hint: "Linux 5.11 or newer is needed")
        }
        // Made by CONFIG_CHECKPOINT_RESTORE (kernel/pid_namespace.c).
        guard Files.exists("/proc/sys/kernel/ns_last_pid") else {
            return DoctorCheck(
                name: "kernel", status: .failed, detail: "\(detail), without CONFIG_CHECKPOINT_RESTORE",
                hint: "use a kernel that is built with it, as Debian's and Ubuntu's are")
        }
        // Without lowerdir+ all paths of the layers must fit one page (mount(2)).
        guard (numbers[0], numbers[1]) >= (6, 8) else {
            return DoctorCheck(
                name: "kernel", status: .warning, detail: detail,
                hint: "before Linux 6.8 a sandbox can have some dozens of layers, not hundreds")
        }
        return DoctorCheck(name: "kernel", status: .ok, detail: detail)
    }

    /// What CRIU and the making of namespaces and mounts take (capabilities(7)), by their numbers.
    private static let neededCapabilities = [
        0: "CAP_CHOWN", 1: "CAP_DAC_OVERRIDE", 3: "CAP_FOWNER", 5: "CAP_KILL", 6: "CAP_SETGID",
        7: "CAP_SETUID",
        8: "CAP_SETPCAP", 12: "CAP_NET_ADMIN", 18: "CAP_SYS_CHROOT", 19: "CAP_SYS_PTRACE",
        21: "CAP_SYS_ADMIN",
        27: "CAP_MKNOD",
    ]

    private static func rights() -> DoctorCheck {
        guard geteuid() == 0 else {
            return DoctorCheck(
                name: "rights", status: .failed, detail: "it runs as uid \(geteuid())",
                hint: "run ckpt as root")
        }
        let status = String(decoding: (try? Files.read("/proc/self/status")) ?? [], as: UTF8.self)
        let line = status.split(separator: "\n").first { $0.hasPrefix("CapEff:") }
        let held = line?.split(separator: "\t").last.flatMap { UInt64($0, radix: 16) } ?? 0
        let missing = neededCapabilities.keys.sorted().filter { held & 1 << UInt64($0) == 0 }
            .compactMap { neededCapabilities[$0] }
        return missing.isEmpty
            ? DoctorCheck(name: "rights", status: .ok, detail: "it runs as root with what it needs")
            : DoctorCheck(
                name: "rights", status: .failed,
                detail: "it runs as root without \(missing.joined(separator: ", "))",
                hint: "start it with all capabilities (docker run --privileged, no CapabilityBoundingSet=)")
    }

    private static func namespaces() -> DoctorCheck {
        let kinds = ["user", "pid", "mnt", "uts", "ipc", "net", "time", "cgroup"]
        let missing = kinds.filter { !Files.exists("/proc/self/ns/\($0)") }
        guard missing.isEmpty else {
            return DoctorCheck(
                name: "namespaces", status: .failed,
                detail: "this kernel has no \(missing.joined(separator: ", ")) namespaces",
                hint: "use a kernel with all of them")
        }
        for kind in kinds {
            let setting = "user.max_\(kind)_namespaces"
            guard let limit = kernelNumber("/proc/sys/user/max_\(kind)_namespaces"), limit < 1000 else {
                continue
            }
            return DoctorCheck(
                name: "namespaces", status: limit == 0 ? .failed : .warning, detail: "\(setting) is \(limit)",
                hint: "each sandbox takes one: sysctl \(setting)=10000")
        }
        return DoctorCheck(name: "namespaces", status: .ok, detail: kinds.joined(separator: ", "))
    }

    private static func overlay() -> DoctorCheck {
        let known = String(decoding: (try? Files.read("/proc/filesystems")) ?? [], as: UTF8.self)
        let there = known.contains("\toverlay\n")
        return DoctorCheck(
            name: "overlayfs", status: there ? .ok : .failed,
            detail: there ? "in this kernel" : "not in this kernel", hint: there ? nil : "modprobe overlay")
    }

    private static func seccomp() -> DoctorCheck {
        let path = "/proc/sys/kernel/seccomp/actions_avail"
        let actions = (try? Files.read(path)).map {
            String(decoding: $0, as: UTF8.self).split { $0.isWhitespace }
        }
        guard let actions, actions.contains("errno"), actions.contains("allow") else {
            return DoctorCheck(
                name: "seccomp", status: .failed, detail: "this kernel cannot filter system calls",
                hint:
                    "use one with CONFIG_SECCOMP_FILTER, or --security-opt seccomp=unconfined for each sandbox"
            )
        }
        return DoctorCheck(name: "seccomp", status: .ok, detail: actions.joined(separator: " "))
    }

    private static func landlock() -> DoctorCheck {
        let version = clinux_landlock_version()
        let there = version > 0 ? "version \(version) in this kernel" : "not in this kernel"
        return DoctorCheck(
            name: "landlock", status: .ok,
            detail: "\(there); sandboxes do without, since a restore would lose a program's domain")
    }

    private static func network() -> DoctorCheck {
        do throws(RuntimeError) {
            let path = try Pasta.path()
            guard access("/dev/net/tun", R_OK | W_OK) == 0 else {
                return DoctorCheck(
                    name: "network", status: .warning, detail: "/dev/net/tun cannot be opened",
                    hint: "modprobe tun; --net nat needs it")
            }
            return DoctorCheck(name: "network", status: .ok, detail: "pasta at \(path)")
        } catch {
            return DoctorCheck(
                name: "network", status: .warning, detail: error.message.message, hint: error.message.hint)
        }
    }

    private static func criuCache() -> DoctorCheck {
        let kept = Mount.isTmpfs("/run")
        return DoctorCheck(
            name: "criu cache", status: kept ? .ok : .warning,
            detail: kept ? "CRIU keeps what it probed of the kernel" : "CRIU probes the kernel at every call",
            hint: kept ? nil : "without a tmpfs on /run each save and restore takes 20 to 40 ms more")
    }

    private static func gdb() -> DoctorCheck {
        let places = (getenv("PATH").map { String(cString: $0) } ?? "").split(separator: ":").map(String.init)
        for place in places + ["/usr/local/bin", "/usr/bin"] where access("\(place)/gdb", X_OK) == 0 {
            return DoctorCheck(name: "gdb", status: .ok, detail: "\(place)/gdb")
        }
        return DoctorCheck(
            name: "gdb", status: .warning, detail: "not found",
            hint: "ckpt debug needs it: apt-get install gdb")
    }
}

/// The number that a file of the kernel holds; nil for none, and for `max`.
func kernelNumber(_ path: String) -> Int? {
    guard let bytes = try? Files.read(path) else { return nil }
    return String(decoding: bytes, as: UTF8.self).split { $0.isWhitespace }.first.flatMap { Int($0) }
}
