/// What happened to a sandbox, a snapshot or the server.
public enum EventKind: String, Codable, Hashable, Sendable, CaseIterable {
    /// A sandbox was created at its base.
    case created
    /// A snapshot was made.
    case saved
    /// A sandbox was rolled back to a snapshot.
    case restored
    /// Sandboxes were started from a snapshot; `names` are theirs.
    case forked
    /// A sandbox was rolled back to its base.
    case reset
    /// A sandbox was removed.
    case removed
    /// Snapshots were deleted; `names` are their ids.
    case deleted
    /// Every process of a sandbox ended because that was asked for: kill, save --stop.
    case exited
    /// PID 1 of a sandbox, and with it everything in it, ended without being asked to.
    case died
    /// The kernel killed processes of a sandbox because its memory had run out; `count` of them.
    case oom
    /// A process of a sandbox got a signal that ends it; `snapshot` is where it was saved just before.
    case crashed
    /// A sandbox stands still on request, or goes on.
    case paused, unpaused
    /// Layers or memory of snapshots were merged.
    case compaction
    /// What nothing needs was removed; `bytes` were given back.
    case gc
    /// A server that started put right what a crash had left, or took a sandbox up again.
    case recovered
    /// An operation takes long, and this is how far it has come.
    case progress
    /// An operation failed; `error` says why.
    case failed
    /// A server began to serve, or ends.
    case started, stopping
    /// This reader has missed events: they are older than what the server keeps. `count` says how many, where known.
    case missed
}

/// One thing that happened, as `GET /v1/events` tells it.
public struct Event: Codable, Hashable, Sendable {
    /// Larger than that of every earlier event of this root, across restarts of the server too where the clock was not
    /// set back before one.
    public var id: UInt64
    /// When, seconds since 1970.
    public var time: Double
    public var kind: EventKind
    /// The sandbox it is about.
    public var sandbox: String?
    /// The snapshot it is about, by its id.
    public var snapshot: String?
    /// The operation that did it or failed, as the API calls it, for example `save`.
    public var operation: String?
    /// How long that took.
    public var durationMs: Double?
    /// What happened, one sentence for people.
    public var message: String?
    /// The exit code of PID 1, or of the process that crashed, where known: 128 + N for signal N.
    public var exitCode: Int32?
    /// The signal that ended it.
    public var signal: Int32?
    /// Of processes, items or events, as the kind says.
    public var count: Int?
    /// Of disk, as the kind says.
    public var bytes: Int64?
    /// Of sandboxes or snapshots, as the kind says.
    public var names: [String]?
    /// Where the milliseconds went.
    public var timings: Timings?
    public var error: ErrorMessage?
    public var progress: ProgressInfo?

    /// An event that is yet to be numbered.
    public init(_ kind: EventKind, id: UInt64 = 0, time: Double = 0) {
        self.kind = kind
        self.id = id
        self.time = time
    }
}

/// How far a long operation has come.
public struct ProgressInfo: Codable, Hashable, Sendable {
    /// The same in every event of one operation.
    public var task: UInt64
    /// What it does now, for example `memory` or `files`.
    public var phase: String
    /// How much of this phase is done.
    public var done: Int64
    /// How much there is to do in this phase; nil where that is not known.
    public var total: Int64?
    /// What is counted.
    public var unit: ProgressUnit
    /// Since the operation began.
    public var elapsedMs: Double
    /// Whether this is the operation's last event.
    public var ended: Bool
    public init(
        task: UInt64, phase: String, done: Int64, total: Int64?, unit: ProgressUnit, elapsedMs: Double,
        ended: Bool = false
    ) {
        self.task = task
        self.phase = phase
        self.done = done
        self.total = total
        self.unit = unit
        self.elapsedMs = elapsedMs
        self.ended = ended
    }
}

/// What progress is counted in.
public enum ProgressUnit: String, Codable, Hashable, Sendable, CaseIterable {
    case bytes, snapshots, sandboxes, items
}

/// Which events a reader wants.
public struct EventFilter: Hashable, Sendable {
    /// Those that name this sandbox; any when nil.
    public var sandbox: String?
    /// Those of these kinds; all when empty. `missed` always comes.
    public var kinds: Set<EventKind>

    /// All events, or those that fit.
    public init(sandbox: String? = nil, kinds: Set<EventKind> = []) {
        self.sandbox = sandbox
        self.kinds = kinds
    }

    /// Whether a reader wants it.
    public func admits(_ event: Event) -> Bool {
        if event.kind == .missed { return true }
        if !kinds.isEmpty, !kinds.contains(event.kind) { return false }
        guard let sandbox else { return true }
        return event.sandbox == sandbox || event.kind == .forked && event.names?.contains(sandbox) == true
    }
}
