/// `GET /v1/sandboxes/{name}/stats`: what a sandbox uses now, and what it has used.
public struct SandboxStatistics: Codable, Sendable {
    public var sandbox: String
    public var state: SandboxState
    /// When it was looked at, seconds since 1970.
    public var time: Double
    public var cpu: ProcessorStatistics
    public var memory: MemoryStatistics
    public var pids: CountStatistics
    public var io: IOStatistics
    public var pressure: PressureStatistics

    public init(
        sandbox: String, state: SandboxState, time: Double, cpu: ProcessorStatistics,
        memory: MemoryStatistics,
        pids: CountStatistics, io: IOStatistics, pressure: PressureStatistics
    ) {
        self.sandbox = sandbox
        self.state = state
        self.time = time
        self.cpu = cpu
        self.memory = memory
        self.pids = pids
        self.io = io
        self.pressure = pressure
    }
}

/// Who counted: a cgroup, or the processes that live now, added up from /proc.
public enum StatisticsSource: String, Codable, Sendable {
    case cgroup, processes
}

/// Use of CPUs.
public struct ProcessorStatistics: Codable, Sendable {
    public var source: StatisticsSource
    /// Nanoseconds of CPU time since it was started or restored.
    public var usageNs: UInt64
    /// Of one CPU: over the interval asked for, or since it was started or restored.
    public var percent: Double
    /// CPUs that it may use; nil for any number.
    public var limit: Double?
    /// Periods in which its quota ended too early, and how long it stood still for that, in nanoseconds.
    public var throttledPeriods: UInt64?
    public var throttledNs: UInt64?
    public init(source: StatisticsSource, usageNs: UInt64, percent: Double = 0) {
        self.source = source
        self.usageNs = usageNs
        self.percent = percent
    }
}

/// Use of memory, in bytes.
public struct MemoryStatistics: Codable, Sendable {
    public var source: StatisticsSource
    /// By a cgroup with its page cache; from /proc what is resident, shared pages once for each process.
    public var currentBytes: Int64
    public var peakBytes: Int64?
    public var limitBytes: Int64?
    public var swapBytes: Int64?
    /// Processes that the kernel killed because the limit was reached.
    public var oomKills: UInt64?
    public init(source: StatisticsSource, currentBytes: Int64) {
        self.source = source
        self.currentBytes = currentBytes
    }
}

/// Processes and threads.
public struct CountStatistics: Codable, Sendable {
    public var source: StatisticsSource
    public var current: Int
    public var limit: Int?
    public init(source: StatisticsSource, current: Int, limit: Int? = nil) {
        self.source = source
        self.current = current
        self.limit = limit
    }
}

/// Bytes read from and written to block devices, and how many operations that took.
public struct IOStatistics: Codable, Sendable {
    public var source: StatisticsSource
    public var readBytes: UInt64
    public var writeBytes: UInt64
    public var readOperations: UInt64?
    public var writeOperations: UInt64?
    public init(source: StatisticsSource, readBytes: UInt64, writeBytes: UInt64) {
        self.source = source
        self.readBytes = readBytes
        self.writeBytes = writeBytes
    }
}

/// How long processes waited for want of a resource (Documentation/accounting/psi.rst).
public struct PressureStatistics: Codable, Sendable {
    public var cpu: Pressure?
    public var memory: Pressure?
    public var io: Pressure?
    /// Why there are no numbers, where there are none.
    public var unavailable: String?
    public init(
        cpu: Pressure? = nil, memory: Pressure? = nil, io: Pressure? = nil, unavailable: String? = nil
    ) {
        self.cpu = cpu
        self.memory = memory
        self.io = io
        self.unavailable = unavailable
    }
}

/// Pressure on one resource: when some processes waited, and when all of them did.
public struct Pressure: Codable, Sendable {
    public var some: PressureAverages
    public var full: PressureAverages?
    public init(some: PressureAverages, full: PressureAverages?) {
        self.some = some
        self.full = full
    }
}

/// Shares of the last 10, 60 and 300 seconds, in percent, and all of it in microseconds.
public struct PressureAverages: Codable, Sendable {
    public var avg10: Double
    public var avg60: Double
    public var avg300: Double
    public var totalUs: UInt64
    public init(avg10: Double, avg60: Double, avg300: Double, totalUs: UInt64) {
        self.avg10 = avg10
        self.avg60 = avg60
        self.avg300 = avg300
        self.totalUs = totalUs
    }
}

/// What a sandbox uses, in short, as `ps` shows it.
public struct SandboxUsage: Codable, Sendable {
    /// Of one CPU, since the last look of at least a second ago, else since its start.
    public var cpuPercent: Double
    public var memoryBytes: Int64
    public var pids: Int
    public init(cpuPercent: Double, memoryBytes: Int64, pids: Int) {
        self.cpuPercent = cpuPercent
        self.memoryBytes = memoryBytes
        self.pids = pids
    }
}

/// `POST /v1/sandboxes/{name}/reclaim`.
public struct ReclaimRequest: Codable, Sendable {
    /// How much to give back; all that is possible when nil.
    public var bytes: Int64?
    public init(bytes: Int64? = nil) { self.bytes = bytes }
}

/// What a reclaim gave back.
public struct ReclaimResult: Codable, Sendable {
    /// Memory in use before and after, in bytes.
    public var beforeBytes: Int64
    public var afterBytes: Int64
    public var reclaimedBytes: Int64
    public init(beforeBytes: Int64, afterBytes: Int64) {
        self.beforeBytes = beforeBytes
        self.afterBytes = afterBytes
        reclaimedBytes = max(0, beforeBytes - afterBytes)
    }
}

/// `POST /v1/sandboxes/{name}/update`: limits to change; what is nil stays as it is.
public struct UpdateRequest: Codable, Sendable {
    /// What is not named in it stays as it is.
    public var limits: ResourceLimits
    /// Limits that are to be none any more; none of them may be in `limits` as well.
    public var lift: [LimitName]?
    public init(limits: ResourceLimits, lift: [LimitName]? = nil) {
        self.limits = limits
        self.lift = lift
    }
}

/// A limit, by the option that sets it.
public enum LimitName: String, Codable, Hashable, Sendable, CaseIterable {
    case cpus, memory
    case cpuShares = "cpu-shares"
    case cpusetCpus = "cpuset-cpus"
    case cpusetMems = "cpuset-mems"
    case memoryHigh = "memory-high"
    case memorySwap = "memory-swap"
    case pids = "pids-limit"
    case io = "io-max"
}

extension ResourceLimits {
    /// Sets no such limits any more; without one of memory there is none of swap either.
    public mutating func lift(_ names: Set<LimitName>) {
        if names.contains(.cpus) { cpus = nil }
        if names.contains(.cpuShares) { cpuShares = nil }
        if names.contains(.cpusetCpus) { cpusetCpus = nil }
        if names.contains(.cpusetMems) { cpusetMems = nil }
        if names.contains(.memory) { memory = nil }
        if names.contains(.memoryHigh) { memoryHigh = nil }
        if names.contains(.memorySwap) || names.contains(.memory) { memorySwap = nil }
        if names.contains(.pids) { pids = nil }
        if names.contains(.io) { io = [] }
    }
}

/// What the API can ask of the engine about what a sandbox uses.
public protocol ResourceOperations: Sendable {
    /// What it uses; the share of the CPU is measured over `interval` seconds (0 to 10), 0 is since its start.
    func stats(_ name: String, interval: Double, cancelled: Cancellation) throws(ErrorMessage)
        -> SandboxStatistics
    /// Gives memory that was not used lately back to the machine.
    func reclaim(_ name: String, _ request: ReclaimRequest) throws(ErrorMessage) -> ReclaimResult
    /// Stops every process where it is, until `unpause`.
    func pause(_ name: String) throws(ErrorMessage) -> SandboxInfo
    func unpause(_ name: String) throws(ErrorMessage) -> SandboxInfo
    /// Changes limits of a sandbox while it runs.
    func update(_ name: String, _ request: UpdateRequest) throws(ErrorMessage) -> SandboxInfo
}
