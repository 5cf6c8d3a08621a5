public import Messages

/// What lists say of each snapshot, put into words once and kept until something about it changes: of a large tree,
/// that is most of what a list costs.
struct Listing {
    /// One snapshot in the list.
    struct Entry {
        let id: String
        /// Who stands on it, as `bytes` say.
        var standing: [String] = []
        /// Nil where it has to be put into words again.
        var bytes: [UInt8]?
        /// Counted up whenever `bytes` go.
        var revision = 0
    }

    /// Oldest first; nil in the place of what was removed. Nil as a whole until somebody lists.
    private(set) var entries: [Entry?]?
    private var places: [String: Int] = [:]
    private var removed = 0
    /// Whom the entries with somebody on them name.
    private var standing: [String: [String]] = [:]

    /// The ids of all snapshots, oldest first.
    mutating func fill(_ ids: [String]) {
        entries = ids.map { Entry(id: $0) }
        places = Dictionary(uniqueKeysWithValues: zip(ids, ids.indices))
        (removed, standing) = (0, [:])
    }

    /// Forgets everything, which is made again for the next list.
    mutating func forget() { self = Listing() }

    mutating func append(_ id: String) {
        guard let count = entries?.count else { return }
        places[id] = count
        entries!.append(Entry(id: id))
    }

    mutating func remove(_ id: String) {
        guard entries != nil, let place = places.removeValue(forKey: id) else { return }
        entries![place] = nil
        standing[id] = nil
        removed += 1
        // Only now and then, for it costs as much as there are entries.
        guard removed > 64, removed > entries!.count / 2 else { return }
        entries!.removeAll { $0 == nil }
        for (place, entry) in entries!.enumerated() { places[entry!.id] = place }
        removed = 0
    }

    /// Something about a snapshot is another now.
    mutating func change(_ id: String?) {
        guard let id, let place = places[id], entries?[place] != nil else { return }
        entries![place]!.bytes = nil
        entries![place]!.revision += 1
    }

    /// Notes who stands where.
    mutating func change(standing now: [String: [String]]) {
        for id in Set(now.keys).union(standing.keys) where now[id] != standing[id] {
            change(id)
            guard let place = places[id], entries?[place] != nil else { continue }
            entries![place]!.standing = now[id] ?? []
            standing[id] = now[id]
        }
    }

    /// Keeps what an entry was put into, unless it has changed since.
    mutating func keep(_ bytes: [UInt8], for entry: Entry) {
        guard let place = places[entry.id], entries?[place]?.revision == entry.revision else { return }
        entries![place]!.bytes = bytes
    }
}

extension SnapshotTree {
    /// Appends every snapshot as `encode` puts it, oldest first, with commas between them.
    ///
    /// What was put into words for an earlier list is taken from there while nothing about it has changed. `standing`
    /// gives for each id the sandboxes on it.
    public func appendInfos(
        to json: inout [UInt8], standing: [String: [String]], encode: (SnapshotInfo) -> [UInt8]
    ) throws(SnapshotTreeError) {
        while true {
            let (ready, missing) = try listed(standing)
            if missing.isEmpty {
                json.reserveCapacity(json.count + ready.reduce(0) { $0 + $1.count + 1 } + 2)
                for (number, bytes) in ready.enumerated() {
                    if number > 0 { json.append(UInt8(ascii: ",")) }
                    json += bytes
                }
                return
            }
            let made = missing.map { (entry: $0.entry, bytes: encode($0.info)) }
            try locked { (catalog) throws(SnapshotTreeError) in
                for (entry, bytes) in made { catalog.listing.keep(bytes, for: entry) }
            }
        }
    }

    /// What is ready, and what is to be put into words first.
    private func listed(
        _ standing: [String: [String]]
    ) throws(SnapshotTreeError) -> ([[UInt8]], missing: [(entry: Listing.Entry, info: SnapshotInfo)]) {
        try locked { (catalog) throws(SnapshotTreeError) in
            if catalog.listing.entries == nil { catalog.listing.fill(try catalog.ids()) }
            catalog.listing.change(standing: standing)
            var ready: [[UInt8]] = []
            var missing: [(Listing.Entry, SnapshotInfo)] = []
            for case let entry? in catalog.listing.entries! {
                if let bytes = entry.bytes {
                    ready.append(bytes)
                } else if let record = try catalog.record(entry.id) {
                    var info = SnapshotInfo(
                        record, children: try catalog.children(of: entry.id), standing: entry.standing)
                    info.storage = DiskShare(record.manifest, catalog.index)
                    missing.append((entry, info))
                }
            }
            return (ready, missing)
        }
    }
}
