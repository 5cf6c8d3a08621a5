import Glibc
import LinuxSystem
import Messages

/// One limit as the files of a control group take it.
struct LimitSetting {
    /// The option, as a user writes it.
    let option: String
    let controller: Controller
    /// Files and what is written to them, in this order.
    var writes: [(file: String, value: String)]
    /// Whether nobody asked for it: it follows from another, and where it cannot be set that is nobody's loss.
    var isImplied = false
    /// Why what is set is less than what was asked for, where it is.
    var shortfall: String?
}

extension ResourceLimits {
    /// The controllers that are needed.
    var controllers: Set<Controller> {
        Set(settings(isUnified: { _ in true }, device: { _ in "" }).map(\.controller))
    }

    /// Every limit that is set; each is written as v1 or as v2 has it, by where its controller hangs.
    ///
    /// `device` gives the numbers of a block device.
    func settings<Failure: Error>(
        isUnified: (Controller) -> Bool, device: (String) throws(Failure) -> String
    ) throws(Failure) -> [LimitSetting] {
        var settings = processorSettings(isUnified)
        settings += memorySettings(isUnified(.memory))
        if let pids {
            settings.append(
                LimitSetting(
                    option: "--pids-limit", controller: .pids, writes: [("pids.max", "\(pids)")]))
        }
        for limit in io {
            let numbers = try device(limit.device)
            settings.append(
                LimitSetting(
                    option: "--io-max", controller: .io,
                    writes: isUnified(.io) ? limit.unified(numbers) : limit.legacy(numbers)))
        }
        return settings
    }

    private func processorSettings(_ isUnified: (Controller) -> Bool) -> [LimitSetting] {
        var settings: [LimitSetting] = []
        if let cpus {
            let writes =
                isUnified(.cpu)
                ? [("cpu.max", "\(cpus.quota) \(cpus.period)")]
                : [("cpu.cfs_period_us", "\(cpus.period)"), ("cpu.cfs_quota_us", "\(cpus.quota)")]
            settings.append(LimitSetting(option: "--cpus", controller: .cpu, writes: writes))
        }
        if let cpuShares {
            let write =
                isUnified(.cpu)
                ? ("cpu.weight", "\(Self.weight(shares: cpuShares))") : ("cpu.shares", "\(cpuShares)")
            settings.append(LimitSetting(option: "--cpu-shares", controller: .cpu, writes: [write]))
        }
        for (option, file, numbers) in [
            ("--cpuset-cpus", "cpuset.cpus", cpusetCpus), ("--cpuset-mems", "cpuset.mems", cpusetMems),
        ] {
            guard let numbers else { continue }
            settings.append(
                LimitSetting(option: option, controller: .cpuset, writes: [(file, numbers.description)]))
        }
        return settings
    }

    private func memorySettings(_ isUnified: Bool) -> [LimitSetting] {
        var settings: [LimitSetting] = []
        if let memoryHigh {
            settings.append(
                isUnified
                    ? LimitSetting(
                        option: "--memory-high", controller: .memory,
                        writes: [("memory.high", "\(memoryHigh.bytes)")])
                    : LimitSetting(
                        option: "--memory-high", controller: .memory,
                        writes: [("memory.soft_limit_in_bytes", "\(memoryHigh.bytes)")],
                        shortfall: "cgroup v1 knows no such limit; its soft limit counts only when the whole "
                            + "machine runs out of memory"))
        }
        guard let memory else { return settings }
        settings.append(
            LimitSetting(
                option: "--memory", controller: .memory,
                writes: [(isUnified ? "memory.max" : "memory.limit_in_bytes", "\(memory.bytes)")]))
        // As Docker has it: who says nothing of swap gets as much of it as memory.
        let total: Int64? = memorySwap.map(\.bytes) ?? (memory.bytes * 2)
        let value =
            isUnified ? total.map { "\($0 - memory.bytes)" } ?? "max" : total.map { "\($0)" } ?? "-1"
        settings.append(
            LimitSetting(
                option: "--memory-swap", controller: .memory,
                writes: [(isUnified ? "memory.swap.max" : "memory.memsw.limit_in_bytes", value)],
                isImplied: memorySwap == nil))
        return settings
    }

    /// Shares (2 to 262144, 1024 is usual) as a weight (1 to 10000, 100 is usual), as runc and crun convert them:
    /// a curve through those three pairs (opencontainers/cgroups, ConvertCPUSharesToCgroupV2Value).
    static func weight(shares: Int) -> Int {
        let power = log2(Double(shares))
        return Int(pow(10, (power * power + 125 * power) / 612 - 7.0 / 34).rounded(.up))
    }
}

extension IOLimit {
    /// Documentation/admin-guide/cgroup-v2.rst, io.max.
    fileprivate func unified(_ device: String) -> [(file: String, value: String)] {
        let words = parts.map { "\($0.name)=\($0.value)" }
        return [("io.max", "\(device) \(words.joined(separator: " "))")]
    }

    /// Documentation/admin-guide/cgroup-v1/blkio-controller.rst.
    fileprivate func legacy(_ device: String) -> [(file: String, value: String)] {
        let files = [
            "rbps": "read_bps", "wbps": "write_bps", "riops": "read_iops", "wiops": "write_iops",
        ]
        return parts.map { ("blkio.throttle.\(files[$0.name]!)_device", "\(device) \($0.value)") }
    }

    private var parts: [(name: String, value: Int64)] {
        let all: [(String, Int64?)] = [
            ("rbps", readBytes?.bytes), ("wbps", writeBytes?.bytes), ("riops", readOperations),
            ("wiops", writeOperations),
        ]
        return all.compactMap { (name, value) in value.map { (name, $0) } }
    }

    /// The numbers of the block device, `MAJOR:MINOR`.
    static func numbers(of device: String) throws(ErrorMessage) -> String {
        guard device.hasPrefix("/") else { return device }
        var status = stat()
        guard stat(device, &status) == 0 else {
            throw ErrorMessage(
                .badValue, "--io-max \(device): \(String(cString: strerror(errno)))",
                hint: "name a block device of this machine, as lsblk -p lists them")
        }
        guard status.st_mode & S_IFMT == S_IFBLK else {
            throw ErrorMessage(
                .badValue, "--io-max \(device) is no block device",
                hint: "name one of this machine's, as lsblk -p lists them")
        }
        // makedev(3).
        let number = status.st_rdev
        let major = (number >> 8 & 0xfff) | (number >> 32 & ~0xfff)
        return "\(major):\(number & 0xff | (number >> 12 & ~0xff))"
    }
}
