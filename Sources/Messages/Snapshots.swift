/// Where the milliseconds of a save, restore or fork went.
public struct Timings: Codable, Hashable, Sendable {
    /// From the request's arrival to the answer.
    public var totalMs: Double
    /// How long the sandbox's processes stood still (save only).
    public var frozenMs: Double?
    /// CRIU's dump or restore, from request to answer; nil in a save that was made without it.
    public var criuMs: Double?
    /// Capturing the filesystem inside the frozen window (save), or making the root filesystem (restore, fork).
    public var filesystemMs: Double?
    /// Comparing memory with the parent's, after the processes go on, and storing what differs (save only).
    public var memoryMs: Double?
    /// Making the snapshot durable and publishing it (save only).
    public var publishMs: Double?
    public init(totalMs: Double) { self.totalMs = totalMs }
}

/// `POST /v1/sandboxes/{name}/save`.
public struct SaveRequest: Codable, Sendable {
    public var tag: String?
    public var message: String?
    /// Leaves the sandbox stopped, at this very instant.
    public var stop: Bool?
    /// What this snapshot survives; the server's own setting when nil.
    public var durability: Durability?
    /// What makes it; the server's own setting when nil.
    public var engine: Engine?
    public init(
        tag: String? = nil, message: String? = nil, stop: Bool? = nil, durability: Durability? = nil,
        engine: Engine? = nil
    ) {
        self.engine = engine
        self.tag = tag
        self.message = message
        self.stop = stop
        self.durability = durability
    }
}

/// What became of the memory of a snapshot's processes, in bytes; pages are matched with those of its parent.
public struct MemoryInfo: Codable, Hashable, Sendable {
    /// All of it, as CRIU dumped it.
    public var totalBytes: Int64
    /// Pages of zeros, which are not stored.
    public var zeroBytes: Int64
    /// Pages that are in the files of an ancestor, which the snapshot shares.
    public var inheritedBytes: Int64
    /// Pages in files of its own.
    public var storedBytes: Int64
    public init(totalBytes: Int64, zeroBytes: Int64, inheritedBytes: Int64, storedBytes: Int64) {
        self.totalBytes = totalBytes
        self.zeroBytes = zeroBytes
        self.inheritedBytes = inheritedBytes
        self.storedBytes = storedBytes
    }
}

/// Where a snapshot was made: a process image may need the same.
public struct OriginInfo: Codable, Hashable, Sendable {
    /// As uname(2) calls the machine, for example `x86_64`.
    public var architecture: String
    /// The kernel's release, as uname(2) tells it.
    public var kernel: String
    /// The version of the CRIU that wrote the process image.
    public var criu: String
    /// The version of the manifest's form.
    public var format: Int
    /// The processor's model, as /proc/cpuinfo calls it.
    public var cpu: String
    /// The extensions of the instruction set that programs can use, as /proc/cpuinfo calls them, sorted.
    public var cpuFeatures: [String]
    public init(
        architecture: String, kernel: String, criu: String, format: Int, cpu: String, cpuFeatures: [String]
    ) {
        self.architecture = architecture
        self.kernel = kernel
        self.criu = criu
        self.format = format
        self.cpu = cpu
        self.cpuFeatures = cpuFeatures
    }
}

/// One node of the snapshot tree.
public struct SnapshotInfo: Codable, Sendable {
    public var id: String
    public var parent: String?
    public var children: [String]
    public var tags: [String]
    public var message: String?
    /// The name of the sandbox it was saved from.
    public var sandbox: String
    /// When, seconds since 1970.
    public var created: Double
    public var spec: SandboxSpec
    /// The layers over the base, lowest first.
    public var layers: [String]
    /// Bytes on disk of its own process image, without the files it inherits.
    public var processBytes: Int64
    /// What it does not hold although its processes had it, one sentence each; only in a save's own answer.
    public var warnings: [String]?
    /// What its memory takes; nil where it has none, and in snapshots of older versions.
    public var memory: MemoryInfo?
    /// Bytes on disk of the layer this snapshot added; 0 when it added none.
    public var layerBytes: Int64
    /// The sandboxes that stand on it.
    public var standing: [String]
    /// How many processes it holds, PID 1 included.
    public var processes: Int
    /// What the save took.
    public var timings: Timings?
    /// The crash that made it, where one did.
    public var crash: CrashInfo?
    /// Where it was made; told of one snapshot, left out of lists.
    public var origin: OriginInfo?
    /// Bytes on disk at the time of its saving: if nothing were shared, of its own, and shared with others.
    public var storage: DiskShare?
    /// What made it, where that was not CRIU; in a save's own answer always where twins were asked for.
    public var engine: Engine?
    /// False for a twin that is in memory alone as yet: it goes with its sandbox's processes and with the server.
    public var durable: Bool?
    /// Why it is no twin although one was asked for, in a save's own answer; of a twin why it cannot be written down. One
    /// sentence.
    public var engineReason: String?

    public init(
        id: String, parent: String?, children: [String], tags: [String], message: String?, sandbox: String,
        created: Double, spec: SandboxSpec, layers: [String], processBytes: Int64, layerBytes: Int64,
        standing: [String], processes: Int, timings: Timings?, memory: MemoryInfo? = nil
    ) {
        self.id = id
        self.parent = parent
        self.children = children
        self.tags = tags
        self.message = message
        self.sandbox = sandbox
        self.created = created
        self.spec = spec
        self.layers = layers
        self.processBytes = processBytes
        self.memory = memory
        self.layerBytes = layerBytes
        self.standing = standing
        self.processes = processes
        self.timings = timings
    }
}

/// `GET /v1/snapshots`: the whole tree, oldest first, and the sandboxes that stand at the base.
public struct TreeInfo: Codable, Sendable {
    public var snapshots: [SnapshotInfo]
    public var sandboxes: [SandboxInfo]
    public init(snapshots: [SnapshotInfo], sandboxes: [SandboxInfo]) {
        self.snapshots = snapshots
        self.sandboxes = sandboxes
    }
}

/// When the memory of restored processes is there.
public enum MemoryMode: String, Codable, Hashable, Sendable, CaseIterable {
    /// Much memory comes in behind, little of it before; all of it before where something is to look into the processes
    /// at once.
    case auto
    /// What can come in behind them does.
    case lazy
    /// All of it before they run.
    case whole
}

/// `POST /v1/sandboxes/{name}/restore`.
public struct RestoreRequest: Codable, Sendable {
    /// The snapshot, by any reference; the one the sandbox last came from when nil.
    public var snapshot: String?
    /// Reads all that is stored of it first; without that only small files are read.
    public var verify: Bool?
    /// Leaves every process but PID 1 as SIGSTOP would, at the snapshot's very instant; SIGCONT lets them go on.
    public var suspended: Bool?
    /// When its memory is to be there; `auto` when nil.
    public var memory: MemoryMode?
    /// `criu` has CRIU restore it in any case; `twin` wants a snapshot that is a twin.
    public var engine: Engine?
    public init(
        snapshot: String? = nil, verify: Bool? = nil, suspended: Bool? = nil, memory: MemoryMode? = nil,
        engine: Engine? = nil
    ) {
        self.snapshot = snapshot
        self.verify = verify
        self.suspended = suspended
        self.memory = memory
        self.engine = engine
    }
}

/// The answer of restore and reset.
public struct RestoreResult: Codable, Sendable {
    public var sandbox: SandboxInfo
    /// The snapshot's full id; nil after a reset.
    public var snapshot: String?
    /// What could not be put back into its processes, one sentence each.
    public var warnings: [String]?
    /// What made the snapshot, where that was not CRIU.
    public var engine: Engine?
    public var timings: Timings
    public init(sandbox: SandboxInfo, snapshot: String?, timings: Timings) {
        self.sandbox = sandbox
        self.snapshot = snapshot
        self.timings = timings
    }
}

/// `POST /v1/fork`.
public struct ForkRequest: Codable, Sendable {
    /// A snapshot by any reference, or a sandbox's name (the snapshot it stands on).
    public var source: String
    /// How many sandboxes, 1 to 1,000; 1 when nil.
    public var count: Int?
    /// Names are PREFIX-1, PREFIX-2 …, the next free numbers; just PREFIX where one is asked for and it is free.
    public var prefix: String?
    /// Reads all that is stored of the snapshot first; without that only small files are read.
    public var verify: Bool?
    /// When their memory is to be there; `auto` when nil.
    public var memory: MemoryMode?
    public init(
        source: String, count: Int? = nil, prefix: String? = nil, verify: Bool? = nil,
        memory: MemoryMode? = nil
    ) {
        self.source = source
        self.count = count
        self.prefix = prefix
        self.verify = verify
        self.memory = memory
    }
}

/// The answer of fork: all of the sandboxes, or an error and none.
public struct ForkResult: Codable, Sendable {
    public var sandboxes: [SandboxInfo]
    public var snapshot: String
    /// For the whole call.
    public var timings: Timings
    /// For each sandbox, in the order of `sandboxes`, in milliseconds from its start to its first answer.
    public var eachMs: [Double]
    public init(sandboxes: [SandboxInfo], snapshot: String, timings: Timings, eachMs: [Double]) {
        self.sandboxes = sandboxes
        self.snapshot = snapshot
        self.timings = timings
        self.eachMs = eachMs
    }
}

/// The answer of `DELETE /v1/snapshots/{ref}`.
public struct DeleteResult: Codable, Sendable {
    /// The ids that are gone.
    public var deleted: [String]
    public var freedBytes: Int64
    public init(deleted: [String], freedBytes: Int64) {
        self.deleted = deleted
        self.freedBytes = freedBytes
    }
}
