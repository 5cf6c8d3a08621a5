import Glibc
import LinuxSystem
import Messages

/// What opening a store found and put right.
public struct Recovery: Equatable, Sendable {
    /// Directories of `staging/` that a crash left half-made, and that are gone now.
    public internal(set) var swept: [String] = []
    /// Bytes on disk that sweeping freed.
    public internal(set) var sweptBytes: Int64 = 0
    /// Snapshots that were on disk and not in the catalog, and have a row now.
    public internal(set) var added: [String] = []
    /// Snapshots that were in the catalog and not on disk, and have no row any more.
    public internal(set) var removed: [String] = []
    /// Snapshots whose parent is gone; they are roots now.
    public internal(set) var orphaned: [String] = []
    /// Snapshots that cannot be used, with the reason: an unreadable manifest, a missing layer.
    public internal(set) var damaged: [String: String] = [:]
    /// Snapshots that were not durable when the machine went down, of which some is missing, and that are gone now.
    public internal(set) var dropped: [String] = []
    /// Snapshots that were not durable when the machine went down and are whole all the same.
    public internal(set) var kept: [String] = []
    /// Snapshots that got back the tags that are written down beside them.
    public internal(set) var retagged: [String] = []
    /// Snapshots that are whole and yet to be flushed.
    var unflushed: [String] = []
    /// Where the damaged catalog lies; the new one was rebuilt from the manifests.
    public internal(set) var damagedCatalog: String?

    /// Merged layers whose parts are not known any more: `merges/ID` could not be read, or had no layer.
    public internal(set) var forgottenMerges: [String] = []

    /// Whether the last one who worked on the store came to its end in order, and was not killed.
    public internal(set) var lastEndedInOrder = true

    /// Whether there was nothing to put right.
    public var isClean: Bool {
        var other = self
        other.unflushed = []
        other.lastEndedInOrder = true
        return other == Recovery()
    }

    /// Opens the catalog and brings it in line with the disk; a damaged one is set aside and rebuilt.
    static func open(
        _ layout: Layout, _ durability: Durability
    ) throws(SnapshotTreeError) -> (Catalog, Recovery) {
        var recovery = Recovery()
        let last = try layout.beginSession(durability)
        recovery.lastEndedInOrder = last.isInOrder
        let (ours, others) = try layout.unflushed()
        recovery.unflushed = ours
        (recovery.kept, recovery.dropped) = try layout.settle(others)
        (recovery.swept, recovery.sweptBytes) = try wrapping { () throws(SystemError) in
            try layout.sweepStaging(except: nil)
        }
        // What was never flushed may have lost any of its pages; nothing is in it that the manifests have not.
        if last == .machineWentDown(.none) {
            layout.removeCatalog()
            try wrapping { () throws(SystemError) in try layout.forgetMerges() }
        }
        let before = recovery
        do throws(SnapshotTreeError) {
            try layout.checkCatalog(last)
            let catalog = try Catalog(path: layout.catalogPath, durability: durability)
            if layout.isSuspect || !last.isInOrder { try catalog.check() }
            try recovery.reconcile(catalog, with: layout)
            if !last.isInOrder {
                try recovery.reconcileTags(catalog, with: layout)
                try recovery.mendTags(catalog, in: layout)
            }
            layout.clearSuspect()
            return (catalog, recovery)
        } catch .damaged {
            recovery = before
        }
        recovery.damagedCatalog = try layout.setCatalogAside()
        let catalog = try Catalog(path: layout.catalogPath, durability: durability)
        try recovery.reconcile(catalog, with: layout)
        if !last.isInOrder { try recovery.mendTags(catalog, in: layout) }
        return (catalog, recovery)
    }

    /// Adds rows for published snapshots that have none and takes away rows of snapshots that are gone.
    private mutating func reconcile(_ catalog: Catalog, with layout: Layout) throws(SnapshotTreeError) {
        let onDisk = Set(try layout.publishedNames().filter(Identifier.isValid))
        let known = try catalog.ids()
        let gone = known.filter { !onDisk.contains($0) }
        let new = try readManifests(of: onDisk.subtracting(known), in: layout)
        if !gone.isEmpty || !new.isEmpty {
            try catalog.transaction { () throws(SnapshotTreeError) in
                for id in gone {
                    orphaned += try catalog.children(of: id).filter { !gone.contains($0) }
                    try catalog.remove(id)
                }
                for manifest in new { try add(manifest, to: catalog, in: layout) }
            }
        }
        removed = gone
        try indexLayers(catalog, in: layout)
    }

    /// The manifests of `ids`, parents before their children.
    private mutating func readManifests(
        of ids: Set<String>, in layout: Layout
    ) throws(SnapshotTreeError) -> [Manifest] {
        var manifests: [String: Manifest] = [:]
        for id in ids {
            do throws(SnapshotTreeError) {
                let manifest = try layout.manifest(of: id)
                guard manifest.id == id else {
                    throw SnapshotTreeError.damaged(
                        what: id, reason: "its manifest is that of \(manifest.id)")
                }
                manifests[id] = manifest
            } catch {
                damaged[id] = error.message.cause.map { "manifest.json: \($0)" } ?? error.description
            }
        }
        var ordered: [Manifest] = []
        for id in manifests.values.sorted(by: { ($0.created, $0.id) < ($1.created, $1.id) }).map(\.id) {
            var path: [Manifest] = []
            var next: String? = id
            // Taking each out as it is met also ends a circle of parents, which only a forged store has.
            while let id = next, let manifest = manifests.removeValue(forKey: id) {
                path.append(manifest)
                next = manifest.parent
            }
            ordered += path.reversed()
        }
        return ordered
    }

    private mutating func add(
        _ manifest: Manifest, to catalog: Catalog, in layout: Layout
    ) throws(SnapshotTreeError) {
        let parentIsGone = try manifest.parent.map { (id) throws(SnapshotTreeError) in
            try !catalog.contains(id)
        }
        let lostParent = parentIsGone == true ? manifest.parent : nil
        try catalog.insert(manifest, lostParent: lostParent)
        added.append(manifest.id)
        if lostParent != nil { orphaned.append(manifest.id) }
        for tag in layout.tags(of: manifest.id) where try catalog.owner(of: tag) == nil {
            try catalog.insertTag(tag, of: manifest.id)
        }
    }

    /// Gives each snapshot the tags written down beside it: a tag is there before the catalog has it.
    private mutating func reconcileTags(
        _ catalog: Catalog, with layout: Layout
    ) throws(SnapshotTreeError) {
        let known = Dictionary(grouping: try catalog.allTags(), by: \.snapshot).mapValues {
            Set($0.map(\.tag))
        }
        let other = try catalog.ids().filter { id in
            damaged[id] == nil && Set(layout.tags(of: id)) != known[id] ?? []
        }
        if other.isEmpty { return }
        try catalog.transaction { () throws(SnapshotTreeError) in
            for id in other { try catalog.setTags([], of: id) }
            for id in other { try catalog.setTags(layout.tags(of: id), of: id) }
        }
        retagged = other
    }

    /// Writes down anew the tags of each snapshot beside which a crash left something else than the catalog has: half a
    /// file, or a tag that another snapshot has.
    private mutating func mendTags(_ catalog: Catalog, in layout: Layout) throws(SnapshotTreeError) {
        let tags = Dictionary(grouping: try catalog.allTags(), by: \.snapshot).mapValues { $0.map(\.tag) }
        for id in try catalog.ids() where damaged[id] == nil {
            let text = Array((tags[id] ?? []).map { "\($0)\n" }.joined().utf8)
            let path = "\(layout.snapshotPath(id))/tags"
            if text == (try? Files.read(path)) ?? [] { continue }
            try wrapping { () throws(SystemError) in
                try Descriptor.directory(layout.snapshotPath(id))
                    .replaceFile("tags", with: text, durable: true)
            }
            if !retagged.contains(id) { retagged.append(id) }
        }
    }

    private mutating func indexLayers(
        _ catalog: Catalog, in layout: Layout
    ) throws(SnapshotTreeError) {
        let present = Set(try wrapping { () throws(SystemError) in try layout.layerNames() })
        for row in try catalog.layers() {
            catalog.index.add(layers: row.layers, own: row.own, bytes: row.ownBytes)
            guard let missing = row.layers.first(where: { !present.contains($0) }) else { continue }
            damaged[row.id] = "layer \(missing) is missing"
        }
        let (merges, removed) = try wrapping { () throws(SystemError) in try layout.readMerges() }
        for merge in merges { catalog.index.add(merge) }
        forgottenMerges = removed
    }
}

extension Layout {
    private static let suspect = "catalog.suspect"

    /// Notes that SQLite met damage, so that the next start looks at every page.
    func markSuspect() { try? rootDirectory.replaceFile(Self.suspect, with: [], durable: true) }
    func clearSuspect() { unlinkat(rootDirectory.raw, Self.suspect, 0) }
    var isSuspect: Bool { faccessat(rootDirectory.raw, Self.suspect, F_OK, 0) == 0 }

    /// Renames the catalog to `catalog.sqlite.damaged-N`, its journal with it, and returns the new path.
    func setCatalogAside() throws(SnapshotTreeError) -> String {
        var number = 1
        while faccessat(rootDirectory.raw, "catalog.sqlite.damaged-\(number)", F_OK, 0) == 0 { number += 1 }
        let at = rootDirectory.raw
        for suffix in ["", "-wal", "-shm"] {
            let to = "catalog.sqlite.damaged-\(number)\(suffix)"
            if renameat(at, "catalog.sqlite\(suffix)", at, to) != 0, errno != ENOENT {
                throw SnapshotTreeError(.last("renameat", to))
            }
        }
        clearSuspect()
        return "\(root)/catalog.sqlite.damaged-\(number)"
    }

    /// Removes the catalog, to be made anew.
    func removeCatalog() {
        for suffix in ["", "-wal", "-shm"] { unlinkat(rootDirectory.raw, "catalog.sqlite\(suffix)", 0) }
    }

    /// What lies in `snapshots/`.
    func publishedNames() throws(SnapshotTreeError) -> [String] {
        try wrapping { () throws(SystemError) in try DirectoryEntries(of: snapshots).names() }
    }

    /// What lies in `layers/`.
    func layerNames() throws(SystemError) -> [String] { try DirectoryEntries(of: layers).names() }

    /// Reads the manifest of a published snapshot.
    func manifest(of id: String) throws(SnapshotTreeError) -> Manifest {
        let path = "\(id)/manifest.json"
        let bytes = try wrapping { () throws(SystemError) in
            try Descriptor.open(path, below: snapshots, O_RDONLY | O_NOFOLLOW).readAll()
        }
        let place = snapshotPath(id) + "/manifest.json"
        let manifest = try Manifest.decoded(bytes, from: place)
        try manifest.checkSealed(bytes, from: place)
        return manifest
    }

    /// The tags kept beside a published snapshot, those that can be tags.
    func tags(of id: String) -> [String] {
        guard let file = try? Descriptor.open("\(id)/tags", below: snapshots, O_RDONLY | O_NOFOLLOW),
            let bytes = try? file.readAll()
        else { return [] }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
            .filter { (try? Identifier.checkTag($0)) != nil }
    }
}
