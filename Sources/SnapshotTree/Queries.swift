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
        try locked { (catalog) throws(SnapshotTreeError) in
            var info = SnapshotInfo(record, children: try catalog.children(of: record.id), standing: standing)
            info.origin = OriginInfo(record.manifest)
            info.storage = DiskShare(record.manifest, catalog.index)
            return info
        }
    }

    /// Every snapshot as the API tells it, oldest first; `standing` gives for each id the sandboxes on it.
    public func infos(standing: [String: [String]] = [:]) throws(SnapshotTreeError) -> [SnapshotInfo] {
        let (records, children, index) = try locked { (catalog) throws(SnapshotTreeError) in
            (try catalog.records(), try catalog.allChildren(), catalog.index)
        }
        return records.map { record in
            var info = SnapshotInfo(
                record, children: children[record.id] ?? [], standing: standing[record.id] ?? [])
            info.storage = DiskShare(record.manifest, index)
            return info
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

extension DiskShare {
    /// As it was when the snapshot was saved.
    init(_ manifest: Manifest, _ index: LayerIndex) {
        let inherited = manifest.layers.reduce(0) {
            $1 == manifest.ownLayer ? $0 : $0 + (index.bytes(of: $1) ?? 0)
        }
        let memory = manifest.memory.map { $0.totalBytes - $0.storedBytes } ?? 0
        self.init(
            logicalBytes: manifest.processBytes + memory + manifest.layerTotalBytes + inherited,
            ownBytes: manifest.processBytes + manifest.layerBytes,
            sharedBytes: manifest.processSharedBytes + manifest.layerTotalBytes - manifest.layerBytes
                + inherited)
    }
}

extension OriginInfo {
    fileprivate init(_ manifest: Manifest) {
        self.init(
            architecture: manifest.architecture, kernel: manifest.kernel, criu: manifest.criu,
            format: manifest.formatVersion, cpu: manifest.cpu, cpuFeatures: manifest.cpuFeatures)
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
