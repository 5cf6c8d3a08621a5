import Digests
import Glibc
public import LinuxSystem
public import Messages

/// Compares what is stored with the digests that were made when it was saved.
///
/// One value checks any number of snapshots and reads what they share once. Used by one thread; no snapshot that it
/// looks at may be deleted meanwhile.
public final class Verification {
    private struct Finding: Hashable {
        let path: String
        let problem: String
    }

    let tree: SnapshotTree
    private var findings: [Finding: Set<String>] = [:]
    /// Files with several names that are damaged, by inode: each is told once.
    private var damagedInodes: [DigestWalk.Inode: Finding] = [:]
    private var contents: [DigestWalk.Inode: Digest] = [:]
    private var checkedLayers: Set<String> = []
    /// The snapshots that list a layer, once somebody asked.
    private var listers: [String: [String]] = [:]
    private var checked: [String] = []
    private var files = 0
    private var bytes: Int64 = 0

    private let read: WorkCount?

    /// A check of `tree`'s store; the bytes of files are added to `read` as they are read.
    public init(_ tree: SnapshotTree, counting read: WorkCount? = nil) {
        (self.tree, self.read) = (tree, read)
    }

    /// Notes something amiss that others found, at a path below the store.
    public func note(_ path: String, _ problem: String, snapshots: [String]) {
        findings[Finding(path: path, problem: problem), default: []].formUnion(snapshots)
    }

    /// Checks one snapshot: its manifest, its tags, its process image and its layers, and what was merged of them.
    /// Throws `catalog` and `damaged` when the catalog cannot be asked.
    public func check(_ record: SnapshotTree.Record) throws(SnapshotTreeError) {
        let merged = try tree.locked { (catalog) throws(SnapshotTreeError) in
            catalog.index.everyMerge(of: record.layers)
        }
        try check(record, layers: record.layers + merged)
    }

    /// The same with other layers than those of its manifest.
    func check(_ record: SnapshotTree.Record, layers: [String]) throws(SnapshotTreeError) {
        checked.append(record.id)
        let place = "snapshots/\(record.id)"
        guard let directory = try? Descriptor.directory(tree.layout.snapshotPath(record.id)) else {
            return note(place, "is missing", snapshots: [record.id])
        }
        checkManifest(record, place, directory)
        checkTags(record, place, directory)
        checkNames(place, directory, record.id)
        try checkTree(
            "\(place)/process", list: "\(place)/\(Layout.digestsName)", record.manifest.processDigest,
            keepsTimes: false, snapshots: [record.id])
        for layer in layers where checkedLayers.insert(layer).inserted {
            checkMerge(layer)
            try checkTree(
                "layers/\(layer)", list: "digests/\(layer)",
                record.manifest.layerDigests[layer] ?? tree.digest(ofLayer: layer),
                keepsTimes: true,
                snapshots: try snapshots(listing: layer, or: record))
        }
    }

    /// The snapshots that damage to a layer hurts; nobody, where a merged one is listed by none.
    private func snapshots(
        listing layer: String, or record: SnapshotTree.Record
    ) throws(SnapshotTreeError) -> [String] {
        if listers.isEmpty {
            let rows = try tree.locked { (catalog) throws(SnapshotTreeError) in try catalog.layers() }
            for row in rows { for layer in row.layers { listers[layer, default: []].append(row.id) } }
        }
        return listers[layer] ?? (record.layers.contains(layer) ? [record.id] : [])
    }

    /// Compares what is known of a merged layer's parts with what was read when the store was opened.
    private func checkMerge(_ layer: String) {
        let known = try? tree.locked { (catalog) throws(SnapshotTreeError) in catalog.index.merges[layer] }
        guard let known else { return }
        files += 1
        do throws(SystemError) {
            let stored = try Files.read(tree.layout.mergePath(layer))
            bytes += Int64(stored.count)
            if stored != known.encoded {
                note("merges/\(layer)", "has other content than was saved", snapshots: [])
            }
        } catch {
            note("merges/\(layer)", problem(error), snapshots: [])
        }
    }

    /// Checks the index.
    public func checkCatalog() {
        do throws(SnapshotTreeError) {
            try tree.locked { (catalog) throws(SnapshotTreeError) in try catalog.check() }
        } catch {
            note("catalog.sqlite", error.message.cause ?? error.description, snapshots: [])
        }
        checkStrays()
    }

    /// Names what lies among the snapshots and cannot be read as one: a catalog that was made anew has no row for it.
    private func checkStrays() {
        let strays = try? tree.locked { (catalog) throws(SnapshotTreeError) -> [String] in
            let names = try tree.layout.publishedNames()
            // Asked after the listing: a snapshot gets its row before its staging stops being live.
            let busy = tree.live.snapshots
            let known = Set(try catalog.ids())
            return names.filter { Identifier.isValid($0) && !busy.contains($0) && !known.contains($0) }
        }
        for id in strays ?? [] {
            files += 1
            do throws(SnapshotTreeError) {
                _ = try tree.layout.manifest(of: id)
            } catch {
                let problem = error.message.cause ?? error.description
                note("snapshots/\(id)/manifest.json", "cannot be read: \(problem)", snapshots: [id])
            }
        }
    }

    /// All that was found; `durationMs` is for the caller to fill in.
    public func report() throws(SnapshotTreeError) -> VerifyReport {
        let order = try tree.locked { (catalog) throws(SnapshotTreeError) in try catalog.ids() }
        let damage = findings.map { finding, snapshots in
            Damage(
                path: finding.path, problem: finding.problem,
                snapshots: order.filter(snapshots.contains) + snapshots.subtracting(order).sorted())
        }
        return VerifyReport(
            snapshots: checked, files: files, bytes: bytes, durationMs: 0,
            damage: damage.sorted { ($0.path, $0.problem) < ($1.path, $1.problem) })
    }

    private func checkManifest(
        _ record: SnapshotTree.Record, _ place: String, _ directory: borrowing Descriptor
    ) {
        let path = "\(place)/manifest.json"
        files += 1
        do throws(SystemError) {
            let stored = try Descriptor.open(
                "manifest.json", below: directory, O_RDONLY | O_NOFOLLOW
            ).readAll()
            bytes += Int64(stored.count)
            do throws(SnapshotTreeError) {
                let manifest = try Manifest.decoded(stored, from: path)
                try manifest.checkSealed(stored, from: path)
                guard manifest.id == record.id else {
                    return note(path, "is that of snapshot \(manifest.id)", snapshots: [record.id])
                }
                var known = record.manifest
                guard try known.sealed() == known else {
                    return note(
                        "catalog.sqlite", "has a damaged manifest of \(record.id)", snapshots: [record.id])
                }
                // A deletion that was cut short may have moved it up on disk alone.
                (known.parent, known.digest) = (manifest.parent, manifest.digest)
                if manifest != known {
                    note("catalog.sqlite", "has another manifest of \(record.id)", snapshots: [record.id])
                }
            } catch {
                note(path, "has other content than was saved", snapshots: [record.id])
            }
        } catch {
            note(path, problem(error), snapshots: [record.id])
        }
    }

    private func checkTags(
        _ record: SnapshotTree.Record, _ place: String, _ directory: borrowing Descriptor
    ) {
        let stored = (try? Descriptor.open("tags", below: directory, O_RDONLY | O_NOFOLLOW).readAll()) ?? []
        let text = record.tags.map { "\($0)\n" }.joined()
        if stored != Array(text.utf8) {
            note("\(place)/tags", "has other tags than the catalog", snapshots: [record.id])
        }
    }

    private func checkNames(_ place: String, _ directory: borrowing Descriptor, _ id: String) {
        let known: Set = [
            "manifest.json", "tags", "process", Layout.digestsName, Flusher.bootName, Flusher.durableName,
        ]
        for name in (try? DirectoryEntries(of: directory).names()) ?? []
        where !known.contains(name) && !name.hasSuffix(".new") {
            note("\(place)/\(name)", "does not belong there", snapshots: [id])
        }
        if let mark = try? Descriptor.open(Flusher.durableName, below: directory, O_RDONLY).readAll() {
            if !mark.isEmpty {
                note("\(place)/\(Flusher.durableName)", "has \(mark.count) bytes and had 0", snapshots: [id])
            }
        } else {
            let mark = try? Descriptor.open(Flusher.bootName, below: directory, O_RDONLY).readAll()
            if mark != (try? Flusher.bootID()) {
                note("\(place)/\(Flusher.bootName)", "does not name this run of the machine", snapshots: [id])
            }
        }
    }

    private func checkTree(
        _ place: String, list listPlace: String, _ digest: Digest?, keepsTimes: Bool, snapshots: [String]
    ) throws(SnapshotTreeError) {
        let root = tree.layout.root
        files += 1
        do throws(SystemError) {
            let stored = try Files.read("\(root)/\(listPlace)")
            bytes += Int64(stored.count)
            guard Digest(of: stored) == digest, let list = DigestList(stored) else {
                return note(listPlace, "has other content than was saved", snapshots: snapshots)
            }
            do throws(SystemError) {
                let walk = try DigestWalk.read(
                    try Descriptor.directory("\(root)/\(place)"), keepsTimes: keepsTimes, contents: contents,
                    counting: read)
                contents = walk.contents
                files += walk.files
                bytes += walk.bytes
                try note(list, walk, place, snapshots)
            } catch {
                note(place, problem(error), snapshots: snapshots)
            }
        } catch {
            note(listPlace, problem(error), snapshots: snapshots)
        }
    }

    private func note(
        _ list: DigestList, _ walk: DigestWalk, _ place: String, _ snapshots: [String]
    ) throws(SystemError) {
        for (path, error) in walk.unreadable {
            note("\(place)/\(path)", problem(error), snapshots: snapshots)
        }
        for (path, problem) in list.differences(from: walk.list) where walk.unreadable[path] == nil {
            let full = path == "." ? place : "\(place)/\(path)"
            let belongs = list.entries[path] != nil
            guard belongs, let inode = walk.linked[path] else {
                note(full, problem, snapshots: snapshots)
                continue
            }
            let finding = damagedInodes[inode] ?? Finding(path: full, problem: problem)
            if damagedInodes[inode] == nil {
                damagedInodes[inode] = finding
                findings[finding, default: []].formUnion(try owners(of: inode))
            }
            findings[finding, default: []].formUnion(snapshots)
        }
    }

    private func problem(_ error: SystemError) -> String {
        error.isMissing ? "is missing" : "cannot be read: \(error.reason)"
    }

    /// Every snapshot that has a name of this file in its process image or in one of its layers.
    private func owners(of inode: DigestWalk.Inode) throws(SystemError) -> Set<String> {
        let rows =
            (try? tree.locked { (catalog) throws(SnapshotTreeError) in try catalog.layers() }) ?? []
        var owners: Set<String> = []
        var holders: [String: Bool] = [:]
        func holds(_ path: String) -> Bool {
            if let known = holders[path] { return known }
            var search = InodeSearch(inode: inode)
            if let root = try? Descriptor.directory(path) { try? TreeWalk.walk(root, &search) }
            holders[path] = search.found
            return search.found
        }
        for row in rows {
            if holds("\(tree.layout.snapshotPath(row.id))/process")
                || row.layers.contains(where: { holds(tree.layout.layerPath($0)) })
            {
                owners.insert(row.id)
            }
        }
        return owners
    }
}

/// Looks for a file in a tree.
private struct InodeSearch: TreeVisitor {
    let inode: DigestWalk.Inode
    private(set) var found = false

    init(inode: DigestWalk.Inode) { self.inode = inode }

    mutating func file(_ name: UnsafePointer<CChar>, type: UInt8, in directory: Int32) throws(SystemError) {
        if found { return }
        var status = stat()
        guard fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return }
        found = status.st_ino == inode.number && status.st_dev == inode.device
    }

    mutating func enter(
        _ name: UnsafePointer<CChar>, in parent: Int32, opened: Int32
    ) throws(SystemError) -> Bool { !found }
}
