import Glibc
public import LinuxSystem
public import Messages

/// Called after each step of a publication; throwing makes the publication fail there.
typealias PublishHook = @Sendable (PublishStep) throws(SnapshotTreeError) -> Void

/// The steps of a publication, in their order.
enum PublishStep: CaseIterable, Sendable {
    case manifestWritten, madeDurable, layerMoved, snapshotMoved, rowInserted
}

extension SnapshotTree {
    /// Makes a staged snapshot durable and visible, all of it or nothing.
    ///
    /// Fills in the manifest's id, own layer (where `staging.layerPath` exists), sizes and digests; `known` spares
    /// reading files whose digests were made before. The layer is
    /// renamed first: a crash right after leaves a layer that nobody lists, which `gc` collects. The
    /// rename of the snapshot's directory is the point of no return: whatever happens later, the next
    /// start finds the snapshot whole and gives it its row and its tag.
    ///
    /// When it throws nothing of it is visible, and the staged files are removed, unless
    /// `keepingOnFailure`: then they are back where they were staged, for a caller whose sandbox still
    /// runs on the layer. `durability` is this one snapshot's, the store's where it is nil. `read` counts the bytes that
    /// are read for digests.
    /// Throws `tagTaken`, `badTag`, `badManifest` (a parent or a layer is gone), `noSpace`, `system`.
    public func publish(
        _ staging: Staging, manifest: Manifest, tag: String? = nil, known: KnownDigests = KnownDigests(),
        keepingOnFailure: Bool = false, durability level: Durability? = nil,
        counting read: WorkCount? = nil
    ) throws(SnapshotTreeError) -> SnapshotInfo {
        let level = level ?? durability
        do throws(SnapshotTreeError) {
            if let tag { try checkTagFree(tag) }
            let manifest = try complete(manifest, staging, known, counting: read)
            try writeDown(manifest, tag: tag, staging, level)
            try makeVisible(manifest, tag: tag, level)
            live.end(staging.id)
            compactSoon(below: manifest)
            switch level {
            case .none: flusher.fallBehind()
            case .deferred: flusher.add(manifest.id, layer: manifest.ownLayer)
            case .snapshot, .always: break
            }
            return SnapshotInfo(
                Record(manifest: manifest, tags: tag.map { [$0] } ?? [], lostParent: nil), children: [],
                standing: [])
        } catch {
            if !keepingOnFailure { abandon(staging) }
            throw error
        }
    }

    private func complete(
        _ draft: Manifest, _ staging: Staging, _ known: KnownDigests, counting read: WorkCount?
    ) throws(SnapshotTreeError) -> Manifest {
        var manifest = draft
        manifest.formatVersion = Manifest.currentFormat
        manifest.id = staging.id
        manifest.ownLayer = nil
        manifest.layerBytes = 0
        let layer = try wrapping { () throws(SystemError) in try usage(staging.layerPath) }
        if let layer {
            manifest.ownLayer = staging.layerID
            manifest.layerBytes = layer.bytes - layer.sharedBytes
            manifest.layerTotalBytes = layer.bytes
            if manifest.layers.last != staging.layerID { manifest.layers.append(staging.layerID) }
        }
        let process = try wrapping { () throws(SystemError) in try usage(staging.processPath) }
        manifest.processBytes = process.map { $0.bytes - $0.sharedBytes } ?? 0
        manifest.processSharedBytes = process?.sharedBytes ?? 0
        try addDigests(to: &manifest, staging, known, counting: read)
        return try manifest.sealed()
    }

    private func usage(_ path: String) throws(SystemError) -> DiskUsage? {
        do { return try DiskUsage.of(try Descriptor.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)) } catch {
            if error.isMissing { return nil }
            throw error
        }
    }

    private func writeDown(
        _ manifest: Manifest, tag: String?, _ staging: Staging, _ level: Durability
    ) throws(SnapshotTreeError) {
        let json = try manifest.encoded()
        let durable = level >= .snapshot
        try wrapping { () throws(SystemError) in
            let directory = try Descriptor.directory(staging.path)
            try directory.replaceFile("manifest.json", with: json, durable: false)
            if let tag { try directory.replaceFile("tags", with: Array("\(tag)\n".utf8), durable: false) }
            if durable {
                try directory.replaceFile(Flusher.durableName, with: [], durable: false)
            } else {
                try directory.replaceFile(Flusher.bootName, with: try Flusher.bootID(), durable: false)
            }
        }
        try step(.manifestWritten)
        if durable {
            try wrapping { () throws(SystemError) in
                // It stands on layers of snapshots that nobody may have flushed.
                try flusher.catchUp()
                try TreeSync.synchronize(try Descriptor.directory(staging.path))
            }
        }
        try step(.madeDurable)
    }

    private func makeVisible(
        _ manifest: Manifest, tag: String?, _ level: Durability
    ) throws(SnapshotTreeError) {
        let layers = layout.layers.raw
        let digests = layout.digests.raw
        let snapshots = layout.snapshots.raw
        let staging = layout.staging.raw
        let id = manifest.id
        if let layer = manifest.ownLayer {
            try move("\(id)/\(Staging.layerDigestsName)", in: staging, to: layer, in: digests)
            do throws(SnapshotTreeError) {
                try move("\(id)/layer", in: staging, to: layer, in: layers)
            } catch {
                try? move(layer, in: digests, to: "\(id)/\(Staging.layerDigestsName)", in: staging)
                throw error
            }
        }
        do throws(SnapshotTreeError) {
            if level >= .snapshot {
                try wrapping { () throws(SystemError) in
                    try layout.digests.synchronize()
                    try layout.layers.synchronize()
                }
            }
            try step(.layerMoved)
            try move(id, in: staging, to: id, in: snapshots)
            do throws(SnapshotTreeError) {
                if level >= .snapshot {
                    try wrapping { () throws(SystemError) in try layout.snapshots.synchronize() }
                }
                try step(.snapshotMoved)
                try insertRow(manifest, tag: tag)
            } catch {
                try? move(id, in: snapshots, to: id, in: staging)
                throw error
            }
        } catch {
            if let layer = manifest.ownLayer {
                try? move(layer, in: layers, to: "\(id)/layer", in: staging)
                try? move(layer, in: digests, to: "\(id)/\(Staging.layerDigestsName)", in: staging)
            }
            throw error
        }
    }

    private func insertRow(_ manifest: Manifest, tag: String?) throws(SnapshotTreeError) {
        try locked { (catalog) throws(SnapshotTreeError) in
            // Looked at with the catalog held: a deletion removes rows and layers under the same lock.
            for layer in manifest.layers where faccessat(layout.layers.raw, layer, F_OK, 0) != 0 {
                throw .badManifest("layer \(layer) is not in the store")
            }
            if let parent = manifest.parent, try !catalog.contains(parent) {
                throw .badManifest("its parent \(parent) is not in the store")
            }
            if let tag, let owner = try catalog.owner(of: tag) { throw .tagTaken(tag, by: owner) }
            try catalog.transaction { () throws(SnapshotTreeError) in
                try catalog.insert(manifest)
                if let tag { try catalog.insertTag(tag, of: manifest.id) }
                try step(.rowInserted)
            }
            catalog.index.add(manifest)
        }
    }

    func move(
        _ name: String, in from: Int32, to newName: String, in to: Int32
    ) throws(SnapshotTreeError) {
        do {
            try retrying("renameat2", newName) {
                renameat2(from, name, to, newName, UInt32(RENAME_NOREPLACE))
            }
        } catch { throw SnapshotTreeError(error) }
    }
}
