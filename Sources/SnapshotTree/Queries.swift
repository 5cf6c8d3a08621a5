public import Messages

extension SnapshotTree {
    /// Every snapshot, oldest first.
    public func snapshots() throws(SnapshotTreeError) -> [Record] {
        try locked { (catalog) throws(SnapshotTreeError) in try catalog.records() }
    }

    /// The snapshot with this full id, nil where there is none.
    public func record(_ id: String) throws(SnapshotTreeError) -> Record? {
        try locked { (catalog) throws(SnapshotTreeError) in try catalog.record(id) }
    }

    /// A snapshot as the API tells it; `standing` are the names of the sandboxes that stand on it.
    public func info(for record: Record, standing: [String] = []) throws(SnapshotTreeError) -> SnapshotInfo {
        let children = try locked { (catalog) throws(SnapshotTreeError) in try catalog.children(of: record.id)
        }
        return SnapshotInfo(record, children: children, standing: standing)
    }

    /// Every snapshot as the API tells it, oldest first; `standing` gives for each id the sandboxes on it.
    public func infos(standing: [String: [String]] = [:]) throws(SnapshotTreeError) -> [SnapshotInfo] {
        let (records, children) = try locked { (catalog) throws(SnapshotTreeError) in
            (try catalog.records(), try catalog.allChildren())
        }
        return records.map {
            SnapshotInfo($0, children: children[$0.id] ?? [], standing: standing[$0.id] ?? [])
        }
    }

    /// The path from a root of the tree to the snapshot, both included: its rollout.
    public func rollout(to id: String) throws(SnapshotTreeError) -> [Record] {
        try locked { (catalog) throws(SnapshotTreeError) in
            var path: [Record] = []
            var next: String? = id
            while let id = next, let record = try catalog.record(id) {
                path.append(record)
                next = record.parent
            }
            return path.reversed()
        }
    }
}

extension SnapshotInfo {
    init(_ record: SnapshotTree.Record, children: [String], standing: [String]) {
        let manifest = record.manifest
        self.init(
            id: manifest.id, parent: record.parent, children: children, tags: record.tags,
            message: manifest.message, sandbox: manifest.sandbox, created: manifest.created,
            spec: manifest.spec, layers: manifest.layers, processBytes: manifest.processBytes,
            layerBytes: manifest.layerBytes, standing: standing, processes: manifest.processes,
            timings: manifest.timings, memory: manifest.memory)
        crash = manifest.crash
    }
}
