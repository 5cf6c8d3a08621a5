import Glibc
import LinuxSystem

/// A snapshot that is being made; nobody sees it until `publish`.
///
/// While this value lives, `gc` leaves its directories alone.
public final class Staging: Sendable {
    /// The id the snapshot will have.
    public let id: String
    /// The id its own layer will have, should it make one.
    public let layerID: String
    /// The directory that becomes the snapshot.
    public let path: String
    private let live: LiveStagings

    init(id: String, layerID: String, path: String, live: LiveStagings) {
        self.id = id
        self.layerID = layerID
        self.path = path
        self.live = live
    }

    deinit { live.end(id) }

    /// Where CRIU writes its image files; it exists and is empty after `stage`.
    public var processPath: String { "\(path)/process" }

    /// Where the snapshot's own layer goes; make it with `makeLayer`, or rename a directory to it.
    public var layerPath: String { "\(path)/layer" }

    /// Where the digest list of the own layer waits for the publication.
    static let layerDigestsName = "layer.digests"

    /// Makes the empty directory of the snapshot's own layer.
    public func makeLayer() throws(SnapshotTreeError) {
        do { try retrying("mkdir", layerPath) { mkdir(layerPath, 0o755) } } catch {
            throw SnapshotTreeError(error)
        }
    }
}

/// The stagings that live in this process: their ids, and the ids of the layers they may make.
final class LiveStagings: Sendable {
    private let ids = Monitor<[String: Set<String>]>([:])

    /// Notes a staging; false when there is one of that id already.
    func begin(_ id: String, layer: String) -> Bool { begin(id, layers: [layer]) }

    /// The same for one that may make several layers, or needs some that nobody lists yet.
    func begin(_ id: String, layers: Set<String>) -> Bool {
        ids.with { ids in
            if ids[id] != nil { return false }
            ids[id] = layers
            return true
        }
    }
    func end(_ id: String) { ids.with { $0[id] = nil } }
    var snapshots: Set<String> { ids.with { Set($0.keys) } }
    var layers: Set<String> { ids.with { $0.values.reduce(into: []) { $0.formUnion($1) } } }
}

extension SnapshotTree {
    /// Begins a snapshot: a directory of its own under `staging/`, with an empty `process/` in it. `wanted` is the id that it
    /// shall have, where nobody has it.
    public func stage(_ wanted: String? = nil) throws(SnapshotTreeError) -> Staging {
        var wanted = wanted
        while true {
            let id = wanted ?? Identifier.random()
            wanted = nil
            let layer = Identifier.random()
            guard try isFree(id), faccessat(layout.layers.raw, layer, F_OK, 0) != 0 else { continue }
            let at = layout.staging.raw
            // Live before it exists, or a collection could take it in between.
            guard live.begin(id, layer: layer) else { continue }
            if mkdirat(at, id, 0o700) != 0 {
                let error = SystemError.last("mkdirat", layout.stagingPath(id))
                live.end(id)
                if error.code == EEXIST { continue }
                throw SnapshotTreeError(error)
            }
            let staging = Staging(id: id, layerID: layer, path: layout.stagingPath(id), live: live)
            if mkdirat(at, "\(id)/process", 0o700) != 0 {
                let error = SystemError.last("mkdirat", staging.processPath)
                abandon(staging)
                throw SnapshotTreeError(error)
            }
            return staging
        }
    }

    /// Removes what was staged, in the background where it cannot be at once; nothing of it was ever visible. Harmless
    /// after `publish`.
    public func abandon(_ staging: Staging) { _ = empty([staging.id]) }

    private func isFree(_ id: String) throws(SnapshotTreeError) -> Bool {
        // A directory without a row is damaged or being deleted, and has the name all the same.
        guard faccessat(layout.snapshots.raw, id, F_OK, 0) != 0 else { return false }
        return try locked { (catalog) throws(SnapshotTreeError) in try !catalog.contains(id) }
    }
}
