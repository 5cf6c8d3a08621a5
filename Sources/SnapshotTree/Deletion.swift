import Glibc
public import LinuxSystem
public import Messages

extension SnapshotTree {
    /// Removes a snapshot, with all below it when `subtree` is set, and the layers nobody needs any more.
    ///
    /// With `keepingChildren` those move up to its parent; nothing they need goes, for memory is linked into each
    /// snapshot and layers stay while one lists them.
    /// `standing` gives for a snapshot's id the sandboxes that stand on it; `layersInUse` are the layers
    /// of running sandboxes, which stay until `gc`; `watch` is told how far it is. The rows go first, in one transaction; then each
    /// directory is renamed into `staging/` and removed from there: behind the caller's back, where space is
    /// not short, and by the next start if need be.
    /// Throws `unknownReference`, `neededByChildren`, `standing`.
    public func delete(
        _ id: String, subtree: Bool = false, keepingChildren: Bool = false,
        standing: [String: [String]] = [:],
        layersInUse: Set<String> = [], watch: WorkWatch = unwatchedWork
    ) throws(SnapshotTreeError) -> DeleteResult {
        try usingReserve { () throws(SnapshotTreeError) in
            try deleteNow(
                id, subtree: subtree, keepingChildren: keepingChildren, standing: standing,
                layersInUse: layersInUse, watch)
        }
    }

    /// Runs what makes room; when it has none itself, once more with the room that is kept back for that.
    func usingReserve<Result>(
        _ body: () throws(SnapshotTreeError) -> Result
    ) throws(SnapshotTreeError) -> Result {
        do throws(SnapshotTreeError) { return try body() } catch {
            guard case .noSpace = error, Reserve.release(root) else { throw error }
        }
        defer { Reserve.keep(root) }
        return try body()
    }

    private func deleteNow(
        _ id: String, subtree: Bool, keepingChildren: Bool, standing: [String: [String]],
        layersInUse: Set<String>, _ watch: WorkWatch
    ) throws(SnapshotTreeError) -> DeleteResult {
        var trash: [String] = []
        let deleted = try locked { (catalog) throws(SnapshotTreeError) in
            let ids = try subtree ? withDescendants(id, catalog) : [id]
            guard let record = try catalog.record(id) else { throw .unknownReference(id) }
            let orphans = try subtree ? [] : catalog.children(of: record.id)
            guard orphans.isEmpty || keepingChildren else { throw .neededByChildren(id, children: orphans) }
            for id in ids {
                if let names = standing[id], !names.isEmpty { throw .standing(id, sandboxes: names) }
            }
            var manifests: [Manifest] = []
            for id in ids {
                if let manifest = try catalog.record(id)?.manifest { manifests.append(manifest) }
            }
            let moved = try moveUp(orphans, to: record.parent, catalog)
            let removed = WorkCount()
            watch("removing", .snapshots, removed, Int64(ids.count))
            try catalog.transaction { () throws(SnapshotTreeError) in
                for manifest in moved { try catalog.reparent(manifest) }
                for id in ids.reversed() {
                    try catalog.remove(id)
                    removed.add(1)
                }
            }
            for manifest in manifests { catalog.index.remove(manifest) }
            let unused = catalog.index.unneeded(among: Set(manifests.flatMap(\.layers)))
                .subtracting(layersInUse).subtracting(live.layers)
            trash = ids.compactMap { discard($0, from: layout.snapshots) }
            if unused.isEmpty && durability != .always { return ids }
            // Layers that the disk may think are needed are left to `gc`.
            guard makeRemovalDurable() else { return ids }
            trash += unused.sorted().compactMap { discardLayer($0, catalog) }
            return ids
        }
        // The snapshots are gone whatever becomes of their files.
        let done = WorkCount()
        watch("giving space back", .items, done, Int64(trash.count))
        guard isRoomy else {
            return DeleteResult(deleted: deleted, freedBytes: empty(trash, counting: done))
        }
        let freed = Holding.freed(by: trash.map(layout.stagingPath), counting: done)
        removeLater(trash)
        return DeleteResult(deleted: deleted, freedBytes: freed)
    }

    /// Whether nobody waits for what a deletion frees: 1 GiB and 10,000 files have room.
    private var isRoomy: Bool {
        var status = statvfs()
        guard statvfs(layout.root, &status) == 0 else { return false }
        return UInt64(status.f_bavail) * UInt64(status.f_frsize) > 1 << 30
            && (status.f_files == 0 || status.f_favail > 10_000)
    }

    /// Takes a directory of this store's filesystem out of the way in one step, and removes it on a thread of its
    /// own; what a crash or the server's end leaves of it the next start removes. One that is not there is no error. What
    /// it is `holding` is let go of before it is removed. Throws `system`.
    public func discard(_ path: String, holding: (any Sendable)? = nil) throws(SnapshotTreeError) {
        try usingReserve { () throws(SnapshotTreeError) in try discardNow(path, holding) }
    }

    private func discardNow(_ path: String, _ holding: (any Sendable)?) throws(SnapshotTreeError) {
        let trash = try wrapping { () throws(SystemError) in
            try moveOut(path, at: AT_FDCWD, pauses: Self.pauses)
        }
        if let trash { removeLater([trash], holding: holding) }
    }

    /// Gives the children another parent on disk.
    ///
    /// A crash before the catalog knows leaves the old parent in place, to be deleted again.
    func moveUp(
        _ children: [String], to parent: String?, _ catalog: Catalog
    ) throws(SnapshotTreeError) -> [Manifest] {
        var moved: [Manifest] = []
        for child in children {
            guard var manifest = try catalog.record(child)?.manifest else { continue }
            manifest.parent = parent
            manifest = try manifest.sealed()
            let bytes = try manifest.encoded()
            try wrapping { () throws(SystemError) in
                try Descriptor.directory(layout.snapshotPath(child))
                    .replaceFile("manifest.json", with: bytes, durable: durability != .none)
            }
            moved.append(manifest)
        }
        return moved
    }

    /// Has the disk know of removed snapshots, before it can know that their layers are gone.
    private func makeRemovalDurable() -> Bool {
        if durability == .none { return true }
        // Names are in the journal, where a flush that failed can be asked for again; pages of files could be lost by then.
        if (try? layout.snapshots.synchronize()) != nil { return true }
        do throws(SystemError) { try layout.snapshots.synchronize() } catch {
            report("the deletion of snapshots is not durable: \(error)")
            return false
        }
        return true
    }

    /// The snapshot and all below it, parents before their children.
    private func withDescendants(_ id: String, _ catalog: Catalog) throws(SnapshotTreeError) -> [String] {
        var ids = [id]
        var next = 0
        while next < ids.count {
            ids += try catalog.children(of: ids[next])
            next += 1
        }
        return ids
    }

    /// `moveOut` for what has no row any more; nil when that failed, which leaves it to the next `gc`.
    func discard(_ name: String, from directory: borrowing Descriptor) -> String? {
        do throws(SystemError) { return try moveOut(name, from: directory) } catch {
            report("\(name) stays for ckpt gc: \(error)")
            return nil
        }
    }

    /// Renames a directory into `staging/`, from where it is removed whatever happens, and returns its new name; nil
    /// when it is not there. An error is believed when it has come three times.
    func moveOut(
        _ name: String, from directory: borrowing Descriptor
    ) throws(SystemError) -> String? {
        try moveOut(name, at: directory.raw, pauses: Array(Self.pauses.prefix(2)))
    }

    /// The same below an open directory, tried again after each of `pauses`.
    private func moveOut(
        _ name: String, at directory: Int32, pauses: [UInt32]
    ) throws(SystemError) -> String? {
        let trash = "\(Layout.trashPrefix)\(Identifier.random())"
        guard live.begin(trash, layer: trash) else {
            return try moveOut(name, at: directory, pauses: pauses)
        }
        var failure: SystemError?
        for pause in [0] + pauses {
            // usleep(3) for nothing sleeps 0.1 ms.
            if pause > 0 { usleep(pause) }
            if renameat2(directory, name, layout.staging.raw, trash, UInt32(RENAME_NOREPLACE)) == 0 {
                return trash
            }
            failure = .last("rename", name)
            if failure!.isMissing { break }
        }
        live.end(trash)
        if let failure, !failure.isMissing { throw failure }
        return nil
    }

    /// `discard` for a layer.
    func discardLayer(_ layer: String, _ catalog: Catalog) -> String? {
        do throws(SystemError) { return try moveOutLayer(layer, catalog) } catch {
            report("layer \(layer) stays for ckpt gc: \(error)")
            return nil
        }
    }

    /// `moveOut` for a layer, whose digest list goes with it, and what is known of its parts before it.
    func moveOutLayer(_ layer: String, _ catalog: Catalog) throws(SystemError) -> String? {
        if unlinkat(layout.merges.raw, layer, 0) == 0 { catalog.index.removeMerge(layer) }
        let discarded = try moveOut(layer, from: layout.layers)
        // A second try costs less than a list that stays until the next gc.
        if discarded != nil, unlinkat(layout.digests.raw, layer, 0) != 0, errno != ENOENT {
            unlinkat(layout.digests.raw, layer, 0)
        }
        return discarded
    }
}
