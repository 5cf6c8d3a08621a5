/// A part of snapshots that a store keeps once, whoever needs it.
public struct StoredObject: Codable, Hashable, Sendable {
    /// What can be left out of an archive where the receiver has it.
    public enum Kind: String, Codable, Hashable, Sendable, CaseIterable {
        /// A layer.
        case layer
        /// The process image of a snapshot.
        case process
        /// A version of ckpt-init.
        case program
    }
    public var kind: Kind
    /// The id of the layer, of the snapshot or of the version.
    public var id: String
    /// The digest of its digest list: two stores that agree in it have the same bytes. A program's id says it all.
    public var digest: String
    /// Bytes on disk when it was saved; 0 where that is not known.
    public var bytes: Int64
    public init(kind: Kind, id: String, digest: String, bytes: Int64) {
        self.kind = kind
        self.id = id
        self.digest = digest
        self.bytes = bytes
    }
}

/// `GET /v1/objects`: what a store holds, or what some of its snapshots are made of.
public struct ObjectList: Codable, Sendable {
    public var objects: [StoredObject]
    public init(objects: [StoredObject]) { self.objects = objects }
}

/// `POST /v1/snapshots/{ref}/archive`.
public struct ExportRequest: Codable, Sendable {
    /// Its ancestors go with it; only the snapshot itself when nil.
    public var withAncestors: Bool?
    /// What the receiver has, which is left out.
    public var have: [StoredObject]?
    /// How hard zstd tries, 1 to 19; 0 for no compression, 3 when nil.
    public var level: Int?
    public init(withAncestors: Bool? = nil, have: [StoredObject]? = nil, level: Int? = nil) {
        self.withAncestors = withAncestors
        self.have = have
        self.level = level
    }
}

/// The answer of `POST /v1/import`.
public struct ImportResult: Codable, Sendable {
    /// The snapshot that was exported, whether it came or was here before.
    public var snapshot: String
    /// The ids of the snapshots that came, parents first.
    public var imported: [String]
    /// The ids of snapshots of the archive that were here before.
    public var known: [String]
    /// Layers and process images that came, and those that were here before or were shared with what was.
    public var newObjects: Int
    public var knownObjects: Int
    /// The archive's bytes, compressed as they came.
    public var bytes: Int64
    /// What may be in the way of restoring it here, one sentence each.
    public var warnings: [String]?
    public var durationMs: Double
    public init(
        snapshot: String, imported: [String], known: [String], newObjects: Int, knownObjects: Int,
        bytes: Int64, warnings: [String]? = nil, durationMs: Double
    ) {
        self.snapshot = snapshot
        self.imported = imported
        self.known = known
        self.newObjects = newObjects
        self.knownObjects = knownObjects
        self.bytes = bytes
        self.warnings = warnings
        self.durationMs = durationMs
    }
}
