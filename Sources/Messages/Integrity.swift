/// `POST /v1/verify`.
public struct VerifyRequest: Codable, Sendable {
    /// Snapshots by any reference; all of them, and the store itself, when nil or empty.
    public var snapshots: [String]?
    public init(snapshots: [String]? = nil) { self.snapshots = snapshots }
}

/// Something in the store that is not as it was saved.
public struct Damage: Codable, Hashable, Sendable {
    /// Where, below the store's directory; what is no plain character of ASCII is written `%XX`.
    public var path: String
    /// What is wrong with it, for example `has other content than was saved`.
    public var problem: String
    /// The ids of the snapshots that need it, oldest first; empty where it is about the store itself.
    public var snapshots: [String]
    public init(path: String, problem: String, snapshots: [String]) {
        self.path = path
        self.problem = problem
        self.snapshots = snapshots
    }
}

/// The answer of verify.
public struct VerifyReport: Codable, Sendable {
    /// The ids of the snapshots that were looked at, oldest first.
    public var snapshots: [String]
    /// Files that were read, and their bytes; what snapshots share is read once.
    public var files: Int
    public var bytes: Int64
    public var durationMs: Double
    /// By path; empty when everything is as it was saved.
    public var damage: [Damage]
    public init(snapshots: [String], files: Int, bytes: Int64, durationMs: Double, damage: [Damage]) {
        self.snapshots = snapshots
        self.files = files
        self.bytes = bytes
        self.durationMs = durationMs
        self.damage = damage
    }
}

/// `POST /v1/usage`.
public struct UsageRequest: Codable, Sendable {
    /// Snapshots by any reference; all of them when nil or empty.
    public var snapshots: [String]?
    public init(snapshots: [String]? = nil) { self.snapshots = snapshots }
}

/// Bytes on disk, as du(1) counts them.
public struct DiskShare: Codable, Hashable, Sendable {
    /// What it would take if nothing were shared and no memory left out.
    public var logicalBytes: Int64
    /// What no other snapshot has: this much is freed when it goes.
    public var ownBytes: Int64
    /// What it has in common with others.
    public var sharedBytes: Int64
    public init(logicalBytes: Int64 = 0, ownBytes: Int64 = 0, sharedBytes: Int64 = 0) {
        self.logicalBytes = logicalBytes
        self.ownBytes = ownBytes
        self.sharedBytes = sharedBytes
    }
}

/// What one snapshot takes.
public struct SnapshotUsage: Codable, Hashable, Sendable {
    public var id: String
    public var tags: [String]
    /// Its process image.
    public var process: DiskShare
    /// Its layers over the base.
    public var layers: DiskShare
    public init(id: String, tags: [String], process: DiskShare, layers: DiskShare) {
        self.id = id
        self.tags = tags
        self.process = process
        self.layers = layers
    }
}

/// The answer of usage.
public struct UsageReport: Codable, Sendable {
    /// Oldest first.
    public var snapshots: [SnapshotUsage]
    /// Bytes on disk of all process images and all layers of the store, each file counted once.
    public var processBytes: Int64
    public var layerBytes: Int64
    public init(snapshots: [SnapshotUsage], processBytes: Int64, layerBytes: Int64) {
        self.snapshots = snapshots
        self.processBytes = processBytes
        self.layerBytes = layerBytes
    }
}
