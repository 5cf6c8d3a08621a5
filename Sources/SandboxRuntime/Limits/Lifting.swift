import LinuxSystem
public import Messages

extension SandboxGroups {
    /// Takes limits away; `before` is what was limited, and what has no group was not. Throws `RuntimeError.limit`.
    public func lift(
        _ names: Set<LimitName>, of before: ResourceLimits, in control: ControlGroups
    ) throws(RuntimeError) {
        for name in LimitName.allCases where names.contains(name) {
            guard let directory = directory(of: name.controller) else { continue }
            do throws(ErrorMessage) {
                for setting in try settings(without: name, before, directory) {
                    try set(setting, in: control)
                }
            } catch { throw .limit(error) }
        }
    }

    /// What is written for no limit (Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/).
    private func settings(
        without name: LimitName, _ before: ResourceLimits, _ group: (path: String, isUnified: Bool)
    ) throws(ErrorMessage) -> [LimitSetting] {
        let v2 = group.isUnified
        func setting(_ writes: [(file: String, value: String)]) -> LimitSetting {
            LimitSetting(option: "--lift \(name.rawValue)", controller: name.controller, writes: writes)
        }
        switch name {
        case .cpus: return [setting([v2 ? ("cpu.max", "max") : ("cpu.cfs_quota_us", "-1")])]
        case .cpuShares: return [setting([v2 ? ("cpu.weight", "100") : ("cpu.shares", "1024")])]
        case .cpusetCpus:
            return [setting([("cpuset.cpus", v2 ? "\n" : inherited("cpuset.cpus", group.path))])]
        case .cpusetMems:
            return [setting([("cpuset.mems", v2 ? "\n" : inherited("cpuset.mems", group.path))])]
        case .memory:
            // On v1 memory is never more than memory and swap together.
            let swap = setting([v2 ? ("memory.swap.max", "max") : ("memory.memsw.limit_in_bytes", "-1")])
            let memory = setting([v2 ? ("memory.max", "max") : ("memory.limit_in_bytes", "-1")])
            return counts(group.path, v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes")
                ? [swap, memory] : [memory]
        case .memoryHigh:
            return [setting([v2 ? ("memory.high", "max") : ("memory.soft_limit_in_bytes", "-1")])]
        case .memorySwap:
            return [setting([v2 ? ("memory.swap.max", "max") : ("memory.memsw.limit_in_bytes", "-1")])]
        case .pids: return [setting([("pids.max", "max")])]
        case .io:
            var none: [LimitSetting] = []
            for limit in before.io {
                let device = try IOLimit.numbers(of: limit.device)
                let files = ["read_bps", "write_bps", "read_iops", "write_iops"]
                none.append(
                    setting(
                        v2
                            ? [("io.max", "\(device) rbps=max wbps=max riops=max wiops=max")]
                            : files.map { ("blkio.throttle.\($0)_device", "\(device) 0") }))
            }
            return none
        }
    }

    private func counts(_ group: String, _ file: String) -> Bool { Files.exists("\(group)/\(file)") }

    /// What the group above may use.
    private func inherited(_ file: String, _ group: String) -> String {
        let above = group.lastIndex(of: "/").map { String(group[..<$0]) } ?? group
        let text = String(decoding: (try? Files.read("\(above)/\(file)")) ?? [], as: UTF8.self)
        return text.split(separator: "\n").first.map(String.init) ?? ""
    }
}

extension LimitName {
    fileprivate var controller: Controller {
        switch self {
        case .cpus, .cpuShares: .cpu
        case .cpusetCpus, .cpusetMems: .cpuset
        case .memory, .memoryHigh, .memorySwap: .memory
        case .pids: .pids
        case .io: .io
        }
    }
}
