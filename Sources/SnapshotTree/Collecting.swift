import Glibc
public import LinuxSystem
public import Messages

/// What nothing refers to, by name below `snapshots/`, `layers/`, `digests/` and `staging/`.
struct Garbage {
    var snapshots: [String]
    var layers: [String]
    var digests: [String]
    var staging: [String]
}

extension SnapshotTree {
    /// Removes what nothing refers to: layers, snapshot directories without a row, stale stagings.
    ///
    /// `layersInUse` are the layers of running sandboxes. What a `Staging` of this process holds stays. `watch` is told
    /// how far it is.
    public func gc(
        layersInUse: Set<String> = [], watch: WorkWatch = unwatchedWork
    ) throws(SnapshotTreeError) -> GCResult {
        var removed: [String] = []
        var trash: [String] = []
        var freed: Int64 = 0
        var kept = 0
        // What cannot be removed keeps nothing else, and is told in the end.
        var failure: SystemError?
        try locked { (catalog) throws(SnapshotTreeError) in
            let garbage = try garbage(catalog, catalog.index, layersInUse: layersInUse)
            kept = try catalog.ids().count
            for name in garbage.snapshots {
                do throws(SystemError) {
                    guard let discarded = try moveOut(name, from: layout.snapshots) else { continue }
                    trash.append(discarded)
                    removed.append("snapshots/\(name)")
                } catch { failure = error }
            }
            for name in garbage.layers {
                let lists = filesBeside(name).reduce(0) { $0 + (StoreLedger.bytesOnDisk(of: $1) ?? 0) }
                do throws(SystemError) {
                    guard let discarded = try moveOutLayer(name, catalog) else { continue }
                    trash.append(discarded)
                    freed += lists
                    removed.append("layers/\(name)")
                } catch { failure = error }
            }
            for name in garbage.digests {
                freed += StoreLedger.bytesOnDisk(of: layout.digestsPath(ofLayer: name)) ?? 0
                unlinkat(layout.digests.raw, name, 0)
                removed.append("digests/\(name)")
            }
        }
        let done = WorkCount()
        watch("giving space back", .items, done, Int64(trash.count))
        freed += empty(trash, counting: done)
        let stale = try wrapping { () throws(SystemError) in try layout.sweepStaging(except: live) }
        removed += stale.names.map { "staging/\($0)" }
        if let failure { throw SnapshotTreeError(failure) }
        return GCResult(
            deleted: [], removed: removed, freedBytes: freed + stale.bytes, kept: kept, storedBytes: nil)
    }

    /// The files that lie beside a layer and go with it.
    private func filesBeside(_ layer: String) -> [String] {
        [layout.digestsPath(ofLayer: layer), layout.mergePath(layer)]
    }

    /// The caller holds the catalog. `index` tells which layers are needed: the catalog's, or what would become of it.
    private func garbage(
        _ catalog: Catalog, _ index: LayerIndex, layersInUse: Set<String>
    ) throws(SnapshotTreeError) -> Garbage {
        let names = try layout.publishedNames()
        // Asked after the listing: a snapshot gets its row before its staging stops being live.
        let busy = live.snapshots
        let known = Set(try catalog.ids())
        let strays = names.filter { !known.contains($0) && !busy.contains($0) }
        let layers = try wrapping { () throws(SystemError) in try layout.layerNames() }
        let candidates = Set(layers).subtracting(layersInUse).subtracting(live.layers)
        let making = live.layers
        let lists = try wrapping { () throws(SystemError) in
            try DirectoryEntries(of: layout.digests).names()
        }
        let staging = try wrapping { () throws(SystemError) in
            try DirectoryEntries(of: layout.staging).names()
        }
        // Asked after the listing: a staging is live before its directory exists.
        let alive = live.snapshots
        return Garbage(
            snapshots: strays.sorted(),
            layers: index.unneeded(among: candidates).intersection(candidates).sorted(),
            digests: lists.filter { name in
                !making.contains(name) && faccessat(layout.layers.raw, name, F_OK, 0) != 0
            }.sorted(),
            staging: staging.filter { !alive.contains($0) }.sorted())
    }
}

extension SnapshotTree {
    /// What `gc` would do under a policy, and what it would free; changes nothing.
    ///
    /// `needed` are the snapshots that somebody uses, `layersInUse` the layers of running sandboxes, `now` is in
    /// seconds since 1970. With rules or a limit every file of the store is looked at; `watch` is told how far that is.
    public func collection(
        under policy: GCRequest, needed: Set<String>, layersInUse: Set<String>, now: Double,
        watch: WorkWatch = unwatchedWork
    ) throws(SnapshotTreeError) -> GCResult {
        let (records, indexNow, before, layers) = try locked { (catalog) throws(SnapshotTreeError) in
            (
                try catalog.records(), catalog.index,
                try garbage(catalog, catalog.index, layersInUse: layersInUse),
                try wrapping { () throws(SystemError) in try layout.layerNames() }
            )
        }
        var index = indexNow
        var ledger = StoreLedger()
        var freed: Int64 = 0
        let retiring = policy.retiresSnapshots
        let snapshotsToCount = before.snapshots + (retiring ? records.map(\.id) : [])
        let layersToCount = retiring ? layers : before.layers
        let counted = WorkCount()
        watch(
            "counting", .items, counted,
            Int64(before.staging.count + snapshotsToCount.count + layersToCount.count))
        for name in before.staging {
            ledger.add(directory: layout.stagingPath(name))
            freed += ledger.remove(layout.stagingPath(name))
            counted.add(1)
        }
        for name in snapshotsToCount {
            ledger.add(directory: layout.snapshotPath(name))
            counted.add(1)
        }
        for name in layersToCount {
            ledger.add(directory: layout.layerPath(name))
            for list in filesBeside(name) { ledger.add(file: list) }
            counted.add(1)
        }
        for name in before.digests { ledger.add(file: layout.digestsPath(ofLayer: name)) }
        freed += remove(before, from: &ledger)
        var going: [RetiredSnapshot] = []
        if retiring {
            let choice = Retention(records.map(Retention.Node.init), policy: policy, needed: needed, now: now)
            going = retire(
                choice.leaving, of: records, until: policy.maxBytes, keeping: layersInUse, &ledger, &index)
        }
        let after = try locked { (catalog) throws(SnapshotTreeError) in
            try garbage(catalog, index, layersInUse: layersInUse)
        }
        return GCResult(
            deleted: going,
            removed: after.snapshots.map { "snapshots/\($0)" } + after.layers.map { "layers/\($0)" }
                + after.digests.map { "digests/\($0)" } + after.staging.map { "staging/\($0)" },
            freedBytes: going.reduce(freed) { $0 + $1.freedBytes }, kept: records.count - going.count,
            storedBytes: retiring ? ledger.storedBytes : nil)
    }

    private func remove(_ garbage: Garbage, from ledger: inout StoreLedger) -> Int64 {
        let directories =
            garbage.snapshots.map { layout.snapshotPath($0) } + garbage.layers.map { layout.layerPath($0) }
        let lists =
            garbage.layers.flatMap { filesBeside($0) }
            + garbage.digests.map { layout.digestsPath(ofLayer: $0) }
        return (directories + lists).reduce(0) { $0 + ledger.remove($1) }
    }

    /// Takes snapshots out of the ledger, all of them or until it fits, and says what that frees.
    private func retire(
        _ leaving: [String], of records: [Record], until limit: ByteSize?, keeping layersInUse: Set<String>,
        _ ledger: inout StoreLedger, _ index: inout LayerIndex
    ) -> [RetiredSnapshot] {
        let byID = Dictionary(uniqueKeysWithValues: records.map { ($0.id, $0) })
        let making = live.layers
        var going: [RetiredSnapshot] = []
        for id in leaving {
            if let limit, ledger.storedBytes <= limit.bytes { break }
            guard let record = byID[id] else { continue }
            var freed = ledger.remove(layout.snapshotPath(id))
            index.remove(record.manifest)
            let unneeded = index.unneeded(among: Set(record.layers))
            for layer in unneeded.subtracting(layersInUse).subtracting(making) {
                freed += ledger.remove(layout.layerPath(layer))
                for list in filesBeside(layer) { freed += ledger.remove(list) }
            }
            going.append(
                RetiredSnapshot(
                    id: id, sandbox: record.manifest.sandbox, tags: record.tags,
                    created: record.manifest.created, freedBytes: freed))
        }
        return going
    }

    /// Removes one snapshot alone, as a collection does: its children move up to its parent, and its layers are left
    /// to `gc`. Returns the bytes that came free; nil, and removes nothing, when it has gone already, has other tags
    /// than `snapshot` says, or somebody uses it now.
    public func retire(
        _ snapshot: RetiredSnapshot, standing: [String: [String]]
    ) throws(SnapshotTreeError) -> Int64? {
        try usingReserve { () throws(SnapshotTreeError) in try retireNow(snapshot, standing: standing) }
    }

    private func retireNow(
        _ snapshot: RetiredSnapshot, standing: [String: [String]]
    ) throws(SnapshotTreeError) -> Int64? {
        var trash: [String] = []
        let isGone = try locked { (catalog) throws(SnapshotTreeError) -> Bool in
            guard let record = try catalog.record(snapshot.id), record.tags == snapshot.tags,
                standing[record.id]?.isEmpty ?? true
            else { return false }
            let moved = try moveUp(try catalog.children(of: record.id), to: record.parent, catalog)
            try catalog.transaction { () throws(SnapshotTreeError) in
                for manifest in moved { try catalog.reparent(manifest) }
                try catalog.remove(record.id)
            }
            catalog.index.remove(record.manifest)
            trash = [record.id].compactMap { discard($0, from: layout.snapshots) }
            return true
        }
        return isGone ? empty(trash) : nil
    }
}
