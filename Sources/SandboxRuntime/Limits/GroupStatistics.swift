import Glibc
import LinuxSystem
public import Messages

/// What one sandbox uses, by its groups where they count and else by its processes.
public struct ResourceSample: Sendable {
    /// Nanoseconds of CLOCK_MONOTONIC.
    public let time: UInt64
    public private(set) var cpu: ProcessorStatistics
    public private(set) var memory: MemoryStatistics
    public private(set) var pids: CountStatistics
    public private(set) var io: IOStatistics

    /// Looks now.
    public init(of process: SandboxProcess, in groups: SandboxGroups) {
        time = monotonicNanoseconds()
        let sum = ProcessSum(of: process)
        cpu = ProcessorStatistics(source: .processes, usageNs: sum.cpuNanoseconds)
        memory = MemoryStatistics(source: .processes, currentBytes: sum.residentBytes)
        pids = CountStatistics(source: .processes, current: sum.tasks)
        io = IOStatistics(source: .processes, readBytes: sum.readBytes, writeBytes: sum.writeBytes)
        readProcessor(groups)
        readMemory(groups)
        readPids(groups)
        readIO(groups)
        let age = sum.ageNanoseconds
        cpu.percent = age > 0 ? Double(cpu.usageNs) / age * 100 : 0
    }

    /// The same with the share of the CPU since `earlier`.
    public func since(_ earlier: ResourceSample) -> ResourceSample {
        var sample = self
        let used = cpu.usageNs > earlier.cpu.usageNs ? cpu.usageNs - earlier.cpu.usageNs : 0
        let passed = Double(time) - Double(earlier.time)
        sample.cpu.percent = passed > 0 ? Double(used) / passed * 100 : 0
        return sample
    }

    private mutating func readProcessor(_ groups: SandboxGroups) {
        // Every group of v2 counts CPU time, with or without the controller.
        if let unified = groups.unified {
            let stat = keyed("\(unified)/cpu.stat")
            if let usage = stat["usage_usec"] { (cpu.source, cpu.usageNs) = (.cgroup, usage * 1000) }
        }
        guard let (directory, isUnified) = groups.directory(of: .cpu) else { return }
        let stat = keyed("\(directory)/cpu.stat")
        cpu.throttledPeriods = stat["nr_throttled"]
        cpu.throttledNs = isUnified ? stat["throttled_usec"].map { $0 * 1000 } : stat["throttled_time"]
        if isUnified {
            let words = text("\(directory)/cpu.max").split(separator: " ").map { Double($0) }
            if words.count == 2, let quota = words[0], let period = words[1] { cpu.limit = quota / period }
            return
        }
        if let quota = number("\(directory)/cpu.cfs_quota_us"), quota > 0,
            let period = number("\(directory)/cpu.cfs_period_us"), period > 0
        {
            cpu.limit = Double(quota) / Double(period)
        }
        // Where the two hang together, as systemd mounts them.
        if let usage = number("\(directory)/cpuacct.usage") {
            (cpu.source, cpu.usageNs) = (.cgroup, UInt64(max(usage, 0)))
        }
    }

    private mutating func readMemory(_ groups: SandboxGroups) {
        guard let (directory, isUnified) = groups.directory(of: .memory),
            let current = number("\(directory)/\(isUnified ? "memory.current" : "memory.usage_in_bytes")")
        else { return }
        memory.source = .cgroup
        memory.currentBytes = current
        memory.peakBytes = number("\(directory)/\(isUnified ? "memory.peak" : "memory.max_usage_in_bytes")")
        let limit = number("\(directory)/\(isUnified ? "memory.max" : "memory.limit_in_bytes")")
        // v1 says "none" with the largest number of whole pages.
        memory.limitBytes = limit.flatMap { $0 < 1 << 62 ? $0 : nil }
        if isUnified {
            memory.swapBytes = number("\(directory)/memory.swap.current")
        } else if let both = number("\(directory)/memory.memsw.usage_in_bytes") {
            memory.swapBytes = max(0, both - current)
        }
        memory.oomKills = groups.oomKills
    }

    private mutating func readPids(_ groups: SandboxGroups) {
        guard let (directory, _) = groups.directory(of: .pids),
            let current = number("\(directory)/pids.current")
        else { return }
        pids = CountStatistics(
            source: .cgroup, current: Int(current), limit: number("\(directory)/pids.max").map(Int.init))
    }

    private mutating func readIO(_ groups: SandboxGroups) {
        guard let (directory, isUnified) = groups.directory(of: .io) else { return }
        if isUnified {
            var sums: [Substring: UInt64] = [:]
            for word in text("\(directory)/io.stat").split(whereSeparator: \.isWhitespace) {
                let parts = word.split(separator: "=")
                if parts.count == 2, let value = UInt64(parts[1]) { sums[parts[0], default: 0] += value }
            }
            io = IOStatistics(
                source: .cgroup, readBytes: sums["rbytes"] ?? 0, writeBytes: sums["wbytes"] ?? 0)
            (io.readOperations, io.writeOperations) = (sums["rios"] ?? 0, sums["wios"] ?? 0)
            return
        }
        let bytes = Self.legacyIO("\(directory)/blkio.throttle.io_service_bytes")
        let operations = Self.legacyIO("\(directory)/blkio.throttle.io_serviced")
        io = IOStatistics(source: .cgroup, readBytes: bytes["Read"] ?? 0, writeBytes: bytes["Write"] ?? 0)
        (io.readOperations, io.writeOperations) = (operations["Read"] ?? 0, operations["Write"] ?? 0)
    }

    /// Lines `MAJOR:MINOR OPERATION COUNT`.
    private static func legacyIO(_ path: String) -> [Substring: UInt64] {
        var sums: [Substring: UInt64] = [:]
        let content = text(path)
        for line in content.split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.count == 3, let value = UInt64(words[2]) { sums[words[1], default: 0] += value }
        }
        return sums
    }
}

extension SandboxGroups {
    /// Whether the kernel limits and counts its memory.
    public var countsMemory: Bool { directory(of: .memory) != nil }

    /// How many of its processes the kernel killed because its memory limit was reached; nil where nobody counts.
    public var oomKills: UInt64? {
        guard let (directory, isUnified) = directory(of: .memory) else { return nil }
        return keyed("\(directory)/\(isUnified ? "memory.events" : "memory.oom_control")")["oom_kill"]
    }

    /// How long its processes waited for want of something.
    public var pressure: PressureStatistics {
        guard ControlGroups.countsPressure else {
            return PressureStatistics(unavailable: "psi=0: the kernel counts no pressure; boot it with psi=1")
        }
        guard let unified else {
            return PressureStatistics(
                unavailable:
                    "it has no group of cgroup v2; a sandbox with a limit has one, and one that was paused")
        }
        return PressureStatistics(
            cpu: Pressure(readingFrom: "\(unified)/cpu.pressure"),
            memory: Pressure(readingFrom: "\(unified)/memory.pressure"),
            io: Pressure(readingFrom: "\(unified)/io.pressure"))
    }
}

extension Pressure {
    /// Lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and `full …`.
    fileprivate init?(readingFrom path: String) {
        var lines: [Substring: PressureAverages] = [:]
        let content = text(path)
        for line in content.split(separator: "\n") {
            let words = line.split(separator: " ")
            var values: [Substring: Substring] = [:]
            for word in words.dropFirst() {
                let parts = word.split(separator: "=")
                if parts.count == 2 { values[parts[0]] = parts[1] }
            }
            guard let kind = words.first, let total = values["total"].flatMap({ UInt64($0) }) else {
                continue
            }
            let number = { (name: Substring) in values[name].flatMap { Double($0) } ?? 0 }
            lines[kind] = PressureAverages(
                avg10: number("avg10"), avg60: number("avg60"), avg300: number("avg300"), totalUs: total)
        }
        guard let some = lines["some"] else { return nil }
        self.init(some: some, full: lines["full"])
    }
}

/// The file's text; empty where it cannot be read.
private func text(_ path: String) -> String {
    (try? Files.read(path)).map { String(decoding: $0, as: UTF8.self) } ?? ""
}

/// The one number in the file; nil for `max`.
private func number(_ path: String) -> Int64? {
    text(path).split(whereSeparator: \.isWhitespace).first.flatMap { Int64($0) }
}

/// Lines `key value`.
private func keyed(_ path: String) -> [Substring: UInt64] {
    var values: [Substring: UInt64] = [:]
    let content = text(path)
    for line in content.split(separator: "\n") {
        let words = line.split(separator: " ")
        if words.count == 2, let value = UInt64(words[1]) { values[words[0]] = value }
    }
    return values
}
