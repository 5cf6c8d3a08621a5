public import Messages

/// What `ckpt show` tells about a snapshot, a label and its value a line.
///
/// - Parameter now: seconds since 1970, which its age is counted from.
public func sheet(of snapshot: SnapshotInfo, now: Double, style: Style) -> [String] {
    var sheet = Sheet(style)
    sheet.add("snapshot", snapshot.id, .id)
    sheet.add("tags", snapshot.tags.joined(separator: ", "), .tag)
    sheet.add("message", snapshot.message ?? "")
    sheet.add("saved from", snapshot.sandbox)
    sheet.add("saved", moment(snapshot.created, now: now))
    sheet.add("parent", snapshot.parent ?? "none: it stands on the base")
    sheet.add("children", snapshot.children.joined(separator: " "))
    sheet.add("sandboxes here", snapshot.standing.joined(separator: " "))
    sheet.add("processes", "\(snapshot.processes)")
    if snapshot.durable == false {
        let why = snapshot.engineReason.map { ", for it cannot be written down: \($0)" } ?? " as yet"
        sheet.add(
            "kept", "as a twin, until its sandbox's processes or the server end; in memory alone\(why)")
    } else {
        sheet.add("process image", sizeText(bytes: snapshot.processBytes))
    }
    if let storage = snapshot.storage { sheet.add("on disk", storageText(storage)) }
    if let memory = snapshot.memory { sheet.add("memory", memoryText(memory)) }
    sheet.add("new layer", snapshot.layerBytes == 0 ? "none" : sizeText(bytes: snapshot.layerBytes))
    let layers = snapshot.layers.count
    sheet.add("layers", layers == 0 ? "none: only the base" : "\(layers) over the base")
    sheet.add(snapshot.spec)
    if let origin = snapshot.origin {
        sheet.add("made with", "CRIU \(origin.criu), format \(origin.format), kernel \(origin.kernel)")
        sheet.add("on", "\(origin.architecture) \(style.clean(origin.cpu))")
        sheet.add("CPU features", origin.cpuFeatures.joined(separator: " "))
    }
    if let timings = snapshot.timings { sheet.add("the save took", timingText(timings)) }
    return sheet.lines()
}

/// What `ckpt show` tells about a sandbox.
///
/// - Parameter now: seconds since 1970, which its age is counted from.
public func sheet(of sandbox: SandboxInfo, now: Double, style: Style) -> [String] {
    var sheet = Sheet(style)
    sheet.add("sandbox", sandbox.name, .heading)
    sheet.add("state", "\(style.sign(sandbox.state)) \(sandbox.state.rawValue)", style.role(sandbox.state))
    sheet.add("reason", sandbox.reason ?? "")
    sheet.add("stands on", sandbox.snapshot ?? "the base", sandbox.snapshot == nil ? .plain : .id)
    sheet.add("created", moment(sandbox.created, now: now))
    sheet.add("processes", "\(sandbox.processes)")
    sheet.add("PID 1 here", sandbox.pid.map(String.init) ?? "")
    sheet.add("ports", (sandbox.ports ?? []).map(\.description).joined(separator: ", "))
    sheet.add("sessions", sandbox.sessions.joined(separator: " "))
    sheet.add(sandbox.spec)
    return sheet.lines()
}

/// What a snapshot takes, one line.
func storageText(_ share: DiskShare) -> String {
    let (own, shared) = (sizeText(bytes: share.ownBytes), sizeText(bytes: share.sharedBytes))
    return "\(own) own, \(shared) shared, \(sizeText(bytes: share.logicalBytes)) logical"
}

/// What became of a snapshot's memory, one line.
private func memoryText(_ memory: MemoryInfo) -> String {
    let (stored, inherited) = (sizeText(bytes: memory.storedBytes), sizeText(bytes: memory.inheritedBytes))
    let zero = sizeText(bytes: memory.zeroBytes)
    return "\(sizeText(bytes: memory.totalBytes)): \(stored) stored, \(inherited) inherited, \(zero) zero"
}

/// Where the milliseconds went, one line.
public func timingText(_ timings: Timings) -> String {
    let parts = [
        ("frozen", timings.frozenMs), ("CRIU", timings.criuMs), ("files", timings.filesystemMs),
        ("memory", timings.memoryMs), ("publish", timings.publishMs),
    ]
    let known = parts.compactMap { part in part.1.map { "\(part.0) \(millisecondsText($0))" } }
    let total = millisecondsText(timings.totalMs)
    return known.isEmpty ? total : "\(total) (\(known.joined(separator: ", ")))"
}

private func moment(_ time: Double, now: Double) -> String {
    let age = ageText(seconds: now - time)
    return "\(momentText(time)) (\(age == "now" || age == "long ago" ? age : age + " ago"))"
}

/// Labels and values, aligned; a value that is empty leaves its label out.
private struct Sheet {
    private let style: Style
    private var entries: [(label: String, value: String, role: Style.Role)] = []

    init(_ style: Style) { self.style = style }

    mutating func add(_ label: String, _ value: String, _ role: Style.Role = .plain) {
        if !value.isEmpty { entries.append((label, style.clean(value), role)) }
    }

    mutating func add(_ spec: SandboxSpec) {
        add("base", spec.base.description)
        add("host name", spec.hostname ?? "")
        add("working directory", spec.workdir ?? "")
        for (key, value) in spec.env.sorted(by: { $0.key < $1.key }) { add("environment", "\(key)=\(value)") }
        add("user", spec.user ?? "")
        add("entry point", spec.entrypoint.joined(separator: " "))
        for limit in spec.ulimits { add("ulimit", limit.description) }
        add("OOM score", spec.oomScoreAdj.map { "\($0)" } ?? "")
        add("on a crash", spec.saveOnCrash ? "saved" : "")
        addFiles(spec)
        add(spec.limits)
        addWalls(spec)
    }

    private mutating func add(_ limits: ResourceLimits) {
        add("CPUs", limits.cpus?.description ?? "")
        add("CPU shares", limits.cpuShares.map { "\($0)" } ?? "")
        add("on CPUs", limits.cpusetCpus?.description ?? "")
        add("memory nodes", limits.cpusetMems?.description ?? "")
        add("memory", limits.memory?.description ?? "")
        add("memory high", limits.memoryHigh?.description ?? "")
        add("memory and swap", limits.memorySwap?.description ?? "")
        add("processes", limits.pids.map { "\($0) at most" } ?? "")
        for limit in limits.io { add("I/O", limit.description) }
        add("limits", limits.bestEffort ? "best effort" : "")
    }

    private mutating func addWalls(_ spec: SandboxSpec) {
        let walls = spec.security
        add("capabilities", walls.capAdd.map { "+\($0)" }.joined(separator: " "))
        add("capabilities", walls.capDrop.map { "-\($0)" }.joined(separator: " "))
        switch walls.seccomp {
        case .usual: break
        case .unconfined: add("seccomp", "unconfined")
        case .profile: add("seccomp", "a profile of its own")
        }
        add("new privileges", walls.noNewPrivileges ? "" : "allowed")
        add("ports reached", (walls.allowPorts ?? []).map { "\($0)" }.joined(separator: " "))
        add("network", spec.net == .none ? "" : spec.net.description)
        for sysctl in spec.sysctls { add("sysctl", sysctl.description) }
        for port in spec.ports { add("forwarded", port.description) }
    }

    /// What a spec shows of this machine, and what may be read and written.
    private mutating func addFiles(_ spec: SandboxSpec) {
        for volume in spec.volumes { add("volume", volume.description) }
        for tmpfs in spec.tmpfs { add("tmpfs", tmpfs.description) }
        add("/dev/shm", spec.shmSize.map(\.description) ?? "")
        add("root", spec.readOnly ? "read-only" : "")
        for device in spec.devices { add("device", device.description) }
        for server in spec.dns { add("name server", server.description) }
        for host in spec.addHosts { add("host", host.description) }
        add("writable", (spec.security.writable ?? []).joined(separator: " "))
        add("readable", (spec.security.readable ?? []).joined(separator: " "))
        add("/proc and /sys", spec.security.maskPaths ? "" : "nothing masked")
    }

    func lines() -> [String] {
        let width = entries.map { columns(of: $0.label) }.max() ?? 0
        return entries.map { entry in
            style.paint(padded(entry.label, to: width), .faint) + "  " + style.paint(entry.value, entry.role)
        }
    }
}
