public import Messages

/// What lists say of each snapshot, put into words once and kept until something about it changes: of a large tree,
/// that is most of what a list costs.
///
/// The words of neighbours lie in one block, which is made anew when one of them changes, so that a list is sent as it
/// lies there: 6 MB of 10,000 snapshots, in 79 blocks.
struct Listing {
    /// What is said of a snapshot.
    enum Words {
        /// It has to be put into words again.
        case missing
        case new([UInt8])
        /// Where it lies in its block.
        case placed(Range<Int>)
    }

    /// One snapshot in the list.
    struct Entry {
        let id: String
        /// Who stands on it, as `words` say.
        var standing: [String] = []
        var words = Words.missing
        /// Counted up whenever `words` go.
        var revision = 0
    }

    /// The words of neighbours, each after a comma but for the first of all.
    private struct Block {
        var text = SharedBytes([UInt8]())
        var isUpToDate = false
        var isFirst = false
    }

    private static let blockSize = 128

    /// Oldest first; nil in the place of what was removed. Nil as a whole until somebody lists.
    private(set) var entries: [Entry?]?
    private var blocks: [Block] = []
    private var places: [String: Int] = [:]
    private var removed = 0
    /// Whom the entries with somebody on them name.
    private var standing: [String: [String]] = [:]

    /// The ids of all snapshots, oldest first.
    mutating func fill(_ ids: [String]) {
        entries = ids.map { Entry(id: $0) }
        blocks = Self.emptyBlocks(for: ids.count)
        places = Dictionary(uniqueKeysWithValues: zip(ids, ids.indices))
        (removed, standing) = (0, [:])
    }

    private static func emptyBlocks(for count: Int) -> [Block] {
        Array(repeating: Block(), count: (count + blockSize - 1) / blockSize)
    }

    /// Forgets everything, which is made again for the next list.
    mutating func forget() { self = Listing() }

    mutating func append(_ id: String) {
        guard let count = entries?.count else { return }
        places[id] = count
        entries!.append(Entry(id: id))
        if count / Self.blockSize == blocks.count { blocks.append(Block()) }
        blocks[count / Self.blockSize].isUpToDate = false
    }

    mutating func remove(_ id: String) {
        guard entries != nil, let place = places.removeValue(forKey: id) else { return }
        entries![place] = nil
        blocks[place / Self.blockSize].isUpToDate = false
        standing[id] = nil
        removed += 1
        // Only now and then, for it costs as much as there are entries.
        if removed > 64, removed > entries!.count / 2 { closeRanks() }
    }

    private mutating func closeRanks() {
        for place in entries!.indices {
            guard let entry = entries![place], case .placed(let range) = entry.words else { continue }
            entries![place]!.words = .new(Array(blocks[place / Self.blockSize].text.bytes[range]))
        }
        entries!.removeAll { $0 == nil }
        for (place, entry) in entries!.enumerated() { places[entry!.id] = place }
        blocks = Self.emptyBlocks(for: entries!.count)
        removed = 0
    }

    /// Something about a snapshot is another now.
    mutating func change(_ id: String?) {
        guard let id, let place = places[id], entries?[place] != nil else { return }
        entries![place]!.words = .missing
        entries![place]!.revision += 1
        blocks[place / Self.blockSize].isUpToDate = false
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
        entries![place]!.words = .new(bytes)
        blocks[place / Self.blockSize].isUpToDate = false
    }

    // MARK: - The list

    /// The entries that have to be put into words before there is a list.
    var missing: [Entry] {
        blocks.indices.filter { !blocks[$0].isUpToDate }.flatMap { number in
            entries![range(of: number)].compactMap { entry in
                if let entry, case .missing = entry.words { return entry }
                return nil
            }
        }
    }

    /// The whole list, when nothing is missing.
    mutating func text() -> [SharedBytes] {
        var isFirst = true
        for number in blocks.indices {
            if !blocks[number].isUpToDate || blocks[number].isFirst != isFirst {
                build(number, isFirst: isFirst)
            }
            if !blocks[number].text.bytes.isEmpty { isFirst = false }
        }
        return blocks.map(\.text)
    }

    private func range(of number: Int) -> Range<Int> {
        number * Self.blockSize..<min((number + 1) * Self.blockSize, entries!.count)
    }

    private mutating func build(_ number: Int, isFirst: Bool) {
        let old = blocks[number].text.bytes
        var words: [UInt8] = []
        words.reserveCapacity(old.count + 1024)
        for place in range(of: number) {
            guard let entry = entries![place] else { continue }
            if !(isFirst && words.isEmpty) { words.append(UInt8(ascii: ",")) }
            let start = words.count
            switch entry.words {
            case .new(let bytes): words += bytes
            case .placed(let range): words += UnsafeRawBufferPointer(rebasing: old[range])
            case .missing: preconditionFailure("snapshot \(entry.id) has not been put into words")
            }
            entries![place]!.words = .placed(start..<words.count)
        }
        blocks[number] = Block(text: SharedBytes(words), isUpToDate: true, isFirst: isFirst)
    }
}

extension SnapshotTree {
    /// Every snapshot as `encode` puts it, oldest first, with commas between them.
    ///
    /// What was put into words for an earlier list is taken from there while nothing about it has changed. `standing`
    /// gives for each id the sandboxes on it.
    public func list(
        standing: [String: [String]], encode: (SnapshotInfo) -> [UInt8]
    ) throws(SnapshotTreeError) -> [SharedBytes] {
        while true {
            let (ready, missing) = try listed(standing)
            if let ready { return ready }
            let made = missing.map { (entry: $0.entry, bytes: encode($0.info)) }
            try locked { (catalog) throws(SnapshotTreeError) in
                for (entry, bytes) in made { catalog.listing.keep(bytes, for: entry) }
            }
        }
    }

    /// The list, or what is to be put into words first.
    private func listed(
        _ standing: [String: [String]]
    ) throws(SnapshotTreeError) -> ([SharedBytes]?, missing: [(entry: Listing.Entry, info: SnapshotInfo)]) {
        try locked { (catalog) throws(SnapshotTreeError) in
            if catalog.listing.entries == nil { catalog.listing.fill(try catalog.ids()) }
            catalog.listing.change(standing: standing)
            let missing = catalog.listing.missing
            if missing.isEmpty { return (catalog.listing.text(), []) }
            var infos: [(Listing.Entry, SnapshotInfo)] = []
            for entry in missing {
                guard let record = try catalog.record(entry.id) else {
                    catalog.listing.remove(entry.id)
                    continue
                }
                var info = SnapshotInfo(
                    record, children: try catalog.children(of: entry.id), standing: entry.standing)
                info.storage = DiskShare(record.manifest, catalog.index)
                infos.append((entry, info))
            }
            return (nil, infos)
        }
    }
}
