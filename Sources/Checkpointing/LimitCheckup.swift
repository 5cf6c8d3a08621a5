import Glibc
import LinuxSystem
import Messages

/// The limits of the machine that many sandboxes run into.
enum LimitCheckup {
    static func checks() -> [DoctorCheck] {
        [openFiles(), pipes(), processes(), mappings(), watches()]
    }

    /// The server holds some descriptors for each sandbox and connection.
    private static func openFiles() -> DoctorCheck {
        var limit = rlimit()
        getrlimit(RLIMIT_NOFILE, &limit)
        let detail = "\(limit.rlim_cur) for a process"
        guard limit.rlim_cur < 4096 else {
            return DoctorCheck(name: "open files", status: .ok, detail: detail)
        }
        return DoctorCheck(
            name: "open files", status: .warning, detail: detail,
            hint: "a few hundred sandboxes need more: ulimit -n 65536, or LimitNOFILE=65536 in a unit")
    }

    /// Beyond the soft limit a pipe has one page (pipe(7)), and a restore cannot give it its size again. All sandboxes
    /// count together, for their root is one user of the host.
    private static func pipes() -> DoctorCheck {
        let setting = "fs.pipe-user-pages-soft"
        guard let pages = kernelNumber("/proc/sys/fs/pipe-user-pages-soft") else {
            return DoctorCheck(name: "pipes", status: .ok, detail: "this kernel does not limit them")
        }
        guard pages > 0, pages < 1 << 18 else {
            return DoctorCheck(
                name: "pipes", status: .ok,
                detail: pages == 0 ? "\(setting) is off" : "\(setting) is \(pages)")
        }
        return DoctorCheck(
            name: "pipes", status: .warning,
            detail: "\(setting) is \(pages): room for \(pages / 16) pipes in all sandboxes together",
            hint: "with more of them restores fail: sysctl \(setting)=0")
    }

    private static func processes() -> DoctorCheck {
        let limits = [
            ("kernel.pid_max", kernelNumber("/proc/sys/kernel/pid_max")),
            ("kernel.threads-max", kernelNumber("/proc/sys/kernel/threads-max")),
            ("pids.max of the server's cgroup", ownGroupLimit()),
        ].compactMap { name, number in number.map { (name: name, number: $0) } }
        let detail = limits.map { "\($0.name) \($0.number)" }.joined(separator: ", ")
        guard let least = limits.min(by: { $0.number < $1.number }), least.number < 16_384 else {
            return DoctorCheck(name: "processes", status: .ok, detail: detail)
        }
        return DoctorCheck(
            name: "processes", status: .warning, detail: detail,
            hint: "raise \(least.name): all processes of all sandboxes count (TasksMax=infinity in a unit)")
    }

    /// The limit that the cgroup of this process sets; nil for none.
    private static func ownGroupLimit() -> Int? {
        let text = String(decoding: (try? Files.read("/proc/self/cgroup")) ?? [], as: UTF8.self)
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3, fields[1] == "pids" || fields[1].isEmpty else { continue }
            let mount = fields[1].isEmpty ? "" : "/pids"
            if let limit = kernelNumber("/sys/fs/cgroup\(mount)\(fields[2])/pids.max") { return limit }
        }
        return nil
    }

    /// Each mapping of a process is made anew at a restore, beside the restorer's own.
    private static func mappings() -> DoctorCheck {
        let setting = "vm.max_map_count"
        let count = kernelNumber("/proc/sys/vm/max_map_count") ?? 65_530
        guard count < 65_530 else {
            return DoctorCheck(name: "mappings", status: .ok, detail: "\(setting) is \(count)")
        }
        return DoctorCheck(
            name: "mappings", status: .warning, detail: "\(setting) is \(count)",
            hint: "large processes need more: sysctl \(setting)=262144")
    }

    /// Counted for each user of the host, and root inside is root's in every sandbox (inotify(7)).
    private static func watches() -> DoctorCheck {
        let names = ["max_user_instances", "max_user_watches"]
        let numbers = names.map { kernelNumber("/proc/sys/fs/inotify/\($0)") ?? 0 }
        let detail = zip(names, numbers).map { "fs.inotify.\($0) is \($1)" }.joined(separator: ", ")
        guard numbers[0] < 1024 || numbers[1] < 65_536 else {
            return DoctorCheck(name: "inotify", status: .ok, detail: detail)
        }
        let low = numbers[0] < 1024 ? "max_user_instances=8192" : "max_user_watches=524288"
        return DoctorCheck(
            name: "inotify", status: .warning, detail: detail,
            hint: "all sandboxes count together, and a restore fails beyond it: sysctl fs.inotify.\(low)")
    }
}
