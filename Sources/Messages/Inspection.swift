/// `GET /v1/snapshots/{ref}/inspect`: what a snapshot's process image holds. What was not asked for is
/// missing.
public struct Inspection: Codable, Hashable, Sendable {
    /// The snapshot's full id.
    public var snapshot: String
    /// What CRIU says about the dump; missing where the sandbox was stopped by it (`save --stop`), for such a
    /// snapshot is complete before CRIU has ended.
    public var dump: InspectedDump?
    /// The sandbox's host name.
    public var hostname: String?
    /// What its clocks showed.
    public var clocks: InspectedClocks?
    /// The namespaces of its processes.
    public var namespaces: [InspectedNamespace]
    /// How user ids inside are mapped to those outside; empty without a user namespace.
    public var userMap: [InspectedIDRange]
    /// The same of group ids.
    public var groupMap: [InspectedIDRange]
    /// The mount table, in the order of the mounts.
    public var mounts: [InspectedMount]
    /// The processes, parents before their children.
    public var processes: [InspectedProcess]

    public init(
        snapshot: String, dump: InspectedDump?, hostname: String? = nil, clocks: InspectedClocks? = nil,
        namespaces: [InspectedNamespace], userMap: [InspectedIDRange], groupMap: [InspectedIDRange],
        mounts: [InspectedMount], processes: [InspectedProcess]
    ) {
        self.snapshot = snapshot
        self.dump = dump
        self.hostname = hostname
        self.clocks = clocks
        self.namespaces = namespaces
        self.userMap = userMap
        self.groupMap = groupMap
        self.mounts = mounts
        self.processes = processes
    }
}

/// CRIU's own account of a dump.
public struct InspectedDump: Codable, Hashable, Sendable {
    /// CRIU's number of the image format.
    public var imageVersion: Int
    /// From the first process stopped to the last one.
    public var freezingMs: Double
    /// How long the tree stood still.
    public var frozenMs: Double
    /// Collecting memory.
    public var memoryDumpMs: Double
    /// Of these, writing it.
    public var memoryWriteMs: Double
    /// Pages of private memory that were looked at, 4,096 bytes each.
    public var pagesScanned: Int64
    /// Of these, pages that went into the images.
    public var pagesWritten: Int64
    /// Pages of shared memory that went into the images.
    public var sharedPagesWritten: Int64

    public init(
        imageVersion: Int, freezingMs: Double, frozenMs: Double, memoryDumpMs: Double, memoryWriteMs: Double,
        pagesScanned: Int64, pagesWritten: Int64, sharedPagesWritten: Int64
    ) {
        self.imageVersion = imageVersion
        self.freezingMs = freezingMs
        self.frozenMs = frozenMs
        self.memoryDumpMs = memoryDumpMs
        self.memoryWriteMs = memoryWriteMs
        self.pagesScanned = pagesScanned
        self.pagesWritten = pagesWritten
        self.sharedPagesWritten = sharedPagesWritten
    }
}

/// The clocks of a sandbox's time namespace at the instant of the dump, in seconds.
public struct InspectedClocks: Codable, Hashable, Sendable {
    /// CLOCK_MONOTONIC.
    public var monotonicSeconds: Double
    /// CLOCK_BOOTTIME.
    public var boottimeSeconds: Double
    /// How much CLOCK_BOOTTIME was ahead of the host's.
    public var boottimeOffsetSeconds: Double?

    public init(monotonicSeconds: Double, boottimeSeconds: Double, boottimeOffsetSeconds: Double? = nil) {
        self.monotonicSeconds = monotonicSeconds
        self.boottimeSeconds = boottimeSeconds
        self.boottimeOffsetSeconds = boottimeOffsetSeconds
    }
}

/// A namespace that processes of a snapshot are in.
public struct InspectedNamespace: Codable, Hashable, Sendable {
    /// Its kind, as /proc/PID/ns calls it.
    public var kind: String
    /// CRIU's number of it, different for each namespace.
    public var number: Int
    /// Whether a restore makes a new one of it.
    public var own: Bool
    /// The pids of the processes in it.
    public var processes: [Int]

    public init(kind: String, number: Int, own: Bool, processes: [Int]) {
        self.kind = kind
        self.number = number
        self.own = own
        self.processes = processes
    }
}

/// A line of a user namespace's map (user_namespaces(7)).
public struct InspectedIDRange: Codable, Hashable, Sendable {
    /// The first id inside.
    public var inside: Int64
    /// The id outside that it is.
    public var outside: Int64
    /// How many ids follow one another.
    public var count: Int64

    public init(inside: Int64, outside: Int64, count: Int64) {
        self.inside = inside
        self.outside = outside
        self.count = count
    }
}

/// A mount of a snapshot (proc_pid_mountinfo(5)).
public struct InspectedMount: Codable, Hashable, Sendable {
    /// Its number.
    public var id: Int
    /// The number of the mount it lies on.
    public var parent: Int
    /// Where it is.
    public var mountPoint: String
    /// What of its filesystem is mounted.
    public var root: String
    /// What is mounted, as the filesystem calls it.
    public var source: String
    /// The filesystem's type.
    public var type: String
    /// The filesystem's own options.
    public var options: String
    /// The options of mount(8) that are set.
    public var flags: [String]
    /// The peer group it sends mounts to.
    public var sharedGroup: Int?
    /// The peer group it receives mounts from.
    public var masterGroup: Int?
    /// The name under which ckpt brings it back, where CRIU does not.
    public var external: String?

    public init(
        id: Int, parent: Int, mountPoint: String, root: String, source: String, type: String, options: String,
        flags: [String], sharedGroup: Int? = nil, masterGroup: Int? = nil, external: String? = nil
    ) {
        self.id = id
        self.parent = parent
        self.mountPoint = mountPoint
        self.root = root
        self.source = source
        self.type = type
        self.options = options
        self.flags = flags
        self.sharedGroup = sharedGroup
        self.masterGroup = masterGroup
        self.external = external
    }
}
