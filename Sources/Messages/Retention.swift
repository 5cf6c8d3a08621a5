/// `POST /v1/gc`: removes what nothing needs and, where a rule or a limit is given, snapshots too.
///
/// A snapshot is kept that a sandbox stands on, that a restore or a fork is reading, or that one of the rules keeps.
/// Without `maxBytes` every other one goes; with it only as many as must, until the store fits.
public struct GCRequest: Codable, Hashable, Sendable {
    /// Keeps the newest so many of each sandbox, by the name of the sandbox they were saved from; 1 or more.
    public var keepLast: Int?
    /// Keeps every snapshot that has a tag.
    public var keepTagged: Bool?
    /// Keeps what was saved within so many seconds; above 0.
    public var keepWithin: Double?
    /// Keeps every ancestor of what is kept, so that the path from the root to it stays whole.
    public var keepPaths: Bool?
    /// How many bytes on disk all snapshots and layers may take, as du(1) counts.
    public var maxBytes: ByteSize?
    /// Removes nothing and tells what would be removed.
    public var dryRun: Bool?
    public init() {}

    /// Whether snapshots may go at all.
    public var retiresSnapshots: Bool {
        keepLast != nil || keepTagged == true || keepWithin != nil || maxBytes != nil
    }

    /// Throws `badValue` for a rule that says nothing.
    public func check() throws(ErrorMessage) {
        if let keepLast, keepLast < 1 {
            throw ErrorMessage(.badValue, "keepLast is \(keepLast)", hint: "keep 1 or more of each sandbox")
        }
        if let keepWithin, !(keepWithin > 0 && keepWithin.isFinite) {
            throw ErrorMessage(.badValue, "keepWithin is \(keepWithin)", hint: "a number of seconds above 0")
        }
        if keepPaths == true, !retiresSnapshots {
            throw ErrorMessage(
                .badValue, "keepPaths alone would keep nothing but what sandboxes stand on",
                hint: "say what to keep the paths of: keepLast, keepTagged, keepWithin or maxBytes")
        }
    }
}

/// A snapshot that a collection removes.
public struct RetiredSnapshot: Codable, Hashable, Sendable {
    public var id: String
    /// The sandbox it was saved from.
    public var sandbox: String
    public var tags: [String]
    /// When it was saved, seconds since 1970.
    public var created: Double
    /// Bytes on disk that come free when it goes, after those listed before it.
    public var freedBytes: Int64
    public init(id: String, sandbox: String, tags: [String], created: Double, freedBytes: Int64) {
        self.id = id
        self.sandbox = sandbox
        self.tags = tags
        self.created = created
        self.freedBytes = freedBytes
    }
}

/// The answer of `POST /v1/gc`; of a dry run, what it would be.
public struct GCResult: Codable, Sendable {
    /// Snapshots that a rule or the limit let go, in the order they go.
    public var deleted: [RetiredSnapshot]
    /// Layers, process images, digest lists and staging directories removed, by name.
    public var removed: [String]
    /// Bytes on disk that are free now, all in all.
    public var freedBytes: Int64
    /// How many snapshots remain.
    public var kept: Int
    /// Bytes on disk of all snapshots and layers that remain; only told where a rule or a limit was given.
    public var storedBytes: Int64?
    public init(
        deleted: [RetiredSnapshot], removed: [String], freedBytes: Int64, kept: Int, storedBytes: Int64?
    ) {
        self.deleted = deleted
        self.removed = removed
        self.freedBytes = freedBytes
        self.kept = kept
        self.storedBytes = storedBytes
    }
}
