import Glibc
import LinuxSystem
public import Messages

extension ControlGroups {
    /// Makes the groups that a sandbox with these limits needs, and sets nothing in them but what processes need to
    /// be there at all; none where nothing is limited.
    ///
    /// Throws `RuntimeError.limit` where a controller is missing, unless `limits.bestEffort`.
    public func makeGroups(named name: String, for limits: ResourceLimits) throws(RuntimeError)
        -> SandboxGroups
    {
        if limits.isEmpty { return SandboxGroups() }
        var groups = SandboxGroups()
        do throws(RuntimeError) {
            for controller in limits.controllers.sorted(by: { $0.rawValue < $1.rawValue }) {
                guard let (hierarchy, isUnified) = hierarchy(of: controller) else { continue }
                do throws(SystemError) {
                    if isUnified {
                        try makeUnified(&groups, named: name, with: controller)
                    } else {
                        groups.legacy[controller.legacyName] = try make(name, in: hierarchy)
                        if controller == .cpuset { try fillCpuset(name, in: hierarchy) }
                    }
                } catch {
                    if limits.bestEffort { continue }
                    throw .limit(Self.refusal(of: controller, error))
                }
            }
        } catch {
            groups.remove()
            throw error
        }
        addStatistics(&groups, named: name)
        return groups
    }

    /// A v2 group for a sandbox that has none: it can be frozen, whatever controllers there are.
    public func makeFreezer(named name: String, besides groups: SandboxGroups) throws(RuntimeError)
        -> SandboxGroups
    {
        var groups = groups
        if groups.unified != nil || groups.legacy["freezer"] != nil { return groups }
        do throws(SystemError) {
            if let unified {
                groups.unified = try make(name, in: unified)
            } else if let hierarchy = legacy["freezer"] {
                groups.legacy["freezer"] = try make(name, in: hierarchy)
            } else {
                throw SystemError(call: "mount", code: ENODEV)
            }
            return groups
        } catch {
            throw .limit(
                ErrorMessage(
                    RuntimeError.kind(error.code),
                    "sandboxes cannot be paused here: no cgroup that freezes can be made",
                    hint: "mount a cgroup2 filesystem at /sys/fs/cgroup", cause: error.description))
        }
    }

    private func makeUnified(
        _ groups: inout SandboxGroups, named name: String, with controller: Controller
    ) throws(SystemError) {
        guard let unified else { return }
        try UnifiedPlace.enable(controller.rawValue, below: Self.parent(of: unified.store))
        if groups.unified == nil { groups.unified = try make(name, in: unified) }
        try UnifiedPlace.enable(controller.rawValue, below: unified.store)
    }

    /// What is not needed to limit, but tells what is used; without it the statistics say less.
    private func addStatistics(_ groups: inout SandboxGroups, named name: String) {
        guard let unified else { return }
        if groups.unified == nil {
            // With a group of v2 the kernel counts the sandbox's pressure, where it counts at all.
            if Self.countsPressure { groups.unified = try? make(name, in: unified) }
            return
        }
        for controller in [Controller.cpu, .memory, .pids, .io]
        where unifiedControllers.contains(controller.rawValue) {
            try? UnifiedPlace.enable(controller.rawValue, below: Self.parent(of: unified.store))
            try? UnifiedPlace.enable(controller.rawValue, below: unified.store)
        }
    }

    private func make(_ name: String, in hierarchy: Hierarchy) throws(SystemError) -> String {
        let path = "\(hierarchy.store)/\(name)"
        if mkdir(path, 0o755) == 0 || errno == EEXIST { return path }
        if errno != ENOENT { throw .last("mkdir", path) }
        if mkdir(hierarchy.store, 0o755) != 0, errno != EEXIST { throw .last("mkdir", hierarchy.store) }
        try retrying("mkdir", path) { mkdir(path, 0o755) }
        return path
    }

    /// A v1 group takes no process before it has CPUs and memory nodes, and none that its parent has not.
    private func fillCpuset(_ name: String, in hierarchy: Hierarchy) throws(SystemError) {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            var value = try Files.read("\(hierarchy.home)/\(file)")
            for directory in [hierarchy.store, "\(hierarchy.store)/\(name)"] {
                let own = try Files.read("\(directory)/\(file)")
                if own.contains(where: { $0 > 32 }) {
                    value = own
                    continue
                }
                try Files.put(String(decoding: value, as: UTF8.self), to: "\(directory)/\(file)")
            }
        }
    }

    private static func parent(of path: String) -> String {
        String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
    }

    private static func refusal(of controller: Controller, _ error: SystemError) -> ErrorMessage {
        let busy = error.code == EBUSY || error.code == EOPNOTSUPP
        return ErrorMessage(
            RuntimeError.kind(error.code), "the \(controller.rawValue) controller cannot be used",
            hint: busy
                ? "the server's cgroup holds other processes: run it as a systemd service with Delegate=yes, or pass "
                    + "--best-effort to go without"
                : "pass --best-effort to go without", cause: error.description)
    }
}

extension SandboxGroups {
    /// Sets the limits; what is not limited stays as it is. Returns what was asked for and is not so, in words.
    ///
    /// Throws `RuntimeError.limit` for the first that cannot be set, unless `limits.bestEffort`.
    public func apply(_ limits: ResourceLimits, in control: ControlGroups) throws(RuntimeError) -> [String] {
        var warnings: [String] = []
        var settings: [LimitSetting]
        do throws(ErrorMessage) {
            settings = try limits.settings(
                isUnified: { directory(of: $0)?.isUnified ?? control.hierarchy(of: $0)?.isUnified ?? true },
                device: { (device) throws(ErrorMessage) in try IOLimit.numbers(of: device) })
        } catch {
            throw .limit(error)
        }
        if mustRaiseSwapFirst(limits), let swap = settings.firstIndex(where: { $0.option == "--memory-swap" })
        {
            settings.insert(settings.remove(at: swap), at: 0)
        }
        for setting in settings {
            do throws(ErrorMessage) {
                try set(setting, in: control)
                if let shortfall = setting.shortfall {
                    throw ErrorMessage(
                        .notPermitted, "\(setting.option) cannot be held: \(shortfall)",
                        hint: "leave it out, or pass --best-effort to take what there is")
                }
            } catch {
                if setting.isImplied { continue }
                guard limits.bestEffort else { throw .limit(error) }
                warnings.append(error.cause.map { "\(error.message): \($0)" } ?? error.message)
            }
        }
        return warnings
    }

    /// On v1 the limit of memory and swap together is never less than that of memory.
    private func mustRaiseSwapFirst(_ limits: ResourceLimits) -> Bool {
        guard let memory = limits.memory, let directory = legacy["memory"],
            let both = Int64(Self.text("\(directory)/memory.memsw.limit_in_bytes"))
        else { return false }
        return both < memory.bytes
    }

    func set(_ setting: LimitSetting, in control: ControlGroups) throws(ErrorMessage) {
        guard let (directory, _) = directory(of: setting.controller) else {
            throw ErrorMessage(
                .notPermitted,
                "\(setting.option) cannot be set: \(control.reason(without: setting.controller))",
                hint:
                    "mount it, or give the server a cgroup with it (systemd: Delegate=yes), or pass --best-effort"
            )
        }
        for (file, value) in setting.writes {
            do throws(SystemError) { try Files.put(value, to: "\(directory)/\(file)") } catch {
                throw ErrorMessage(
                    error.code == EINVAL || error.code == ERANGE || error.code == ENODEV
                        ? .badValue : RuntimeError.kind(error.code),
                    "\(setting.option) cannot be set", hint: Self.remedy(setting, error, directory),
                    cause: "\(directory)/\(file), \(value): \(error.reason)")
            }
        }
    }

    private static func remedy(_ setting: LimitSetting, _ error: SystemError, _ directory: String) -> String {
        switch (setting.controller, error.code) {
        case (_, ENOENT):
            "this kernel's \(setting.controller.rawValue) controller has no such limit; --best-effort goes on without"
        case (.cpuset, _):
            "this machine has \(setting.writes[0].file.contains("mems") ? "memory nodes" : "CPUs") \(text("\(directory)/../\(setting.writes[0].file)")) to give"
        case (.io, ENODEV): "name a whole disk, not a partition"
        case (.memory, EBUSY): "it uses more than that, and no more could be taken from it"
        default: "choose another value, or pass --best-effort to go without"
        }
    }

    private static func text(_ path: String) -> String {
        (try? Files.read(path)).map { String(decoding: $0, as: UTF8.self) }?.split(separator: "\n").first.map(
            String.init)
            ?? "none"
    }
}
