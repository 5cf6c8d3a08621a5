import Digests
import Glibc
import LinuxSystem
public import LocalArchive
import Messages

/// Called after each step of an import; throwing makes it fail there.
typealias ImportHook = @Sendable (ImportStep) throws(SnapshotTreeError) -> Void

/// The steps of an import, in their order.
enum ImportStep: CaseIterable, Sendable {
    case staged, listsRead, treesMade, madeDurable, programsMoved, layersMoved, snapshotsMoved, rowsInserted
}

extension SnapshotTree {
    /// What an import brought.
    public struct Imported: Sendable {
        /// The snapshot that was exported.
        public let snapshot: String
        /// The snapshots that came, parents first.
        public internal(set) var imported: [String] = []
        /// Those that were here before.
        public internal(set) var known: [String] = []
        /// Layers and process images that came, and those that were here before.
        public internal(set) var newObjects = 0
        public internal(set) var knownObjects = 0
        /// Tags of the archive that other snapshots carry here, so that they were left out.
        public internal(set) var takenTags: [String] = []
        /// What the exporting machine's system is called.
        public let system: String
    }

    /// The most bytes of files, holes included, that an archive may bring where its importer says nothing.
    public static let mostImportedBytes: Int64 = 1 << 40

    /// Takes the snapshots of an archive in: all of them or none.
    ///
    /// Everything is staged, compared with its digests and made durable before the first of it is published. A snapshot
    /// that is here already is left alone. Its link to a parent that is not here is kept for the day the parent comes.
    /// `read` gives the archive's next bytes, none at its end. Throws `badArchive`, `incompleteArchive`,
    /// `otherContent`, `importUnderWay`, `versionMismatch`, `tagTaken`, `noSpace` and `system`.
    public func importArchive(
        tag: String? = nil, mostBytes: Int64 = mostImportedBytes, programs: ArchivePrograms,
        watch: @escaping WorkWatch = unwatchedWork, from read: @escaping ArchiveReader.Input
    ) throws(SnapshotTreeError) -> Imported {
        try importArchive(tag: tag, mostBytes: mostBytes, programs: programs, watch: watch, from: read) {
            (_) throws(SnapshotTreeError) in
        }
    }

    /// The same, with a function that is called at each step: tests fail there.
    func importArchive(
        tag: String?, mostBytes: Int64 = mostImportedBytes, programs: ArchivePrograms,
        watch: @escaping WorkWatch = unwatchedWork, from read: @escaping ArchiveReader.Input,
        step: @escaping ImportHook
    ) throws(SnapshotTreeError) -> Imported {
        if let tag { try Identifier.checkTag(tag) }
        let staging = try ImportStaging(self)
        defer { staging.remove() }
        try step(.staged)
        let reader: ArchiveReader
        do { reader = try ArchiveReader(read: read) } catch { throw .badArchive(error.description) }
        let task = SnapshotImport(
            self, staging, reader, programs, mostBytes: mostBytes, watch: watch, step: step)
        return try task.run(tag: tag)
    }
}

/// The directory of an import: a little store of its own below `staging/`.
final class ImportStaging {
    let id: String
    let path: String
    private let tree: SnapshotTree
    private var claimed: [String]

    init(_ tree: SnapshotTree) throws(SnapshotTreeError) {
        self.tree = tree
        var id = Identifier.random()
        // Live before it exists, or a collection could take it in between.
        while !tree.live.begin(id, layers: []) { id = Identifier.random() }
        (self.id, path, claimed) = (id, tree.layout.stagingPath(id), [id])
        do throws(SystemError) {
            for name in ["", "/layers", "/digests", "/snapshots", "/init"] {
                let path = path + name
                try retrying("mkdir", path) { mkdir(path, 0o700) }
            }
        } catch {
            remove()
            throw SnapshotTreeError(error)
        }
    }

    /// Keeps a snapshot's id to this import, and its layers from being collected.
    func claim(_ snapshot: String, layers: Set<String>) throws(SnapshotTreeError) {
        guard tree.live.begin(snapshot, layers: layers) else { throw .importUnderWay(snapshot) }
        claimed.append(snapshot)
    }

    /// Removes what is left of it.
    func remove() {
        guard !claimed.isEmpty else { return }
        for snapshot in claimed where snapshot != id { tree.live.end(snapshot) }
        claimed = []
        _ = tree.empty([id])
    }
}

/// One run of an import.
final class SnapshotImport {
    /// The most bytes that a manifest, a digest list or a program is believed to have.
    private static let listLimit: Int64 = 256 << 20
    /// Devices that anybody may use: null, zero, full, random, urandom, tty and ptmx; the major number above 8 bits of
    /// minor number (makedev(3)).
    private static let harmlessDevices: Set<Int64> = [0x103, 0x105, 0x107, 0x108, 0x109, 0x500, 0x502]

    let tree: SnapshotTree
    let staging: ImportStaging
    let step: ImportHook
    let programs: ArchivePrograms
    private let reader: ArchiveReader
    private let mostBytes: Int64
    private let watch: WorkWatch
    /// Of the bytes of regular files.
    private let done = WorkCount()

    private(set) var header = ArchiveHeader(snapshots: [], parts: [])
    /// Of the snapshots that are new here, by id.
    private(set) var manifests: [String: Manifest] = [:]
    private var known: Set<String> = []
    /// Trees to be made, and those that are here already and may be linked to.
    private(set) var wanted: Set<ArchiveTree> = []
    private var present: Set<ArchiveTree> = []
    private(set) var wantedPrograms: Set<String> = []
    private var finished: Set<ArchiveTree> = []
    private var contents: [DigestWalk.Inode: Digest] = [:]
    private var storedLists: [ArchiveTree: DigestList] = [:]

    init(
        _ tree: SnapshotTree, _ staging: ImportStaging, _ reader: ArchiveReader, _ programs: ArchivePrograms,
        mostBytes: Int64, watch: @escaping WorkWatch, step: @escaping ImportHook
    ) {
        (self.tree, self.staging, self.reader, self.programs) = (tree, staging, reader, programs)
        (self.mostBytes, self.watch, self.step) = (mostBytes, watch, step)
    }

    func run(tag: String?) throws(SnapshotTreeError) -> SnapshotTree.Imported {
        guard let first = try next(), try ArchivePlace(first.name) == .header else {
            throw .badArchive("it does not begin with its header")
        }
        header = try ArchiveHeader.decoded(try bytes(of: first, limit: ArchiveHeader.limit))
        guard header.bytes <= mostBytes else {
            throw .badArchive("it holds \(header.bytes) bytes, more than the \(mostBytes) that are allowed")
        }
        if let tag,
            let owner = try tree.locked({ (catalog) throws(SnapshotTreeError) in
                try catalog.owner(of: tag)
            }), owner != header.snapshots.last!.id
        {
            throw .tagTaken(tag, by: owner)
        }
        watch("reading", .bytes, done, header.bytes)
        let firstTree = try readLists()
        try step(.listsRead)
        if !manifests.isEmpty { try readTrees(from: firstTree) }
        try step(.treesMade)
        watch("making durable", .items, WorkCount(), nil)
        return try publish(tag: tag)
    }

    // MARK: - Lists

    /// Reads manifests, digest lists and programs, which come before all trees; the first entry of a tree.
    private func readLists() throws(SnapshotTreeError) -> (ArchivedFile, ArchiveTree, [[UInt8]])? {
        var lists: [ArchiveTree: (entries: Int, bytes: Int64)] = [:]
        var read: Set<String> = []
        while let entry = try next() {
            let place = try ArchivePlace(entry.name)
            if case .tree(let tree, let parts) = place {
                try decide(lists)
                return (entry, tree, parts)
            }
            guard read.insert("\(place)").inserted else {
                throw .badArchive("\(shown(entry)) is there twice")
            }
            switch place {
            case .manifest(let id): try takeManifest(id, try bytes(of: entry, limit: Self.listLimit))
            case .layerList(let id): lists[.layer(id)] = try takeList(entry, .layer(id))
            case .processList(let id):
                lists[.process(snapshot: id)] = try takeList(entry, .process(snapshot: id))
            case .program(let id): try takeProgram(id, try bytes(of: entry, limit: Self.listLimit))
            case .header, .tree: throw .badArchive("its header is there twice")
            }
        }
        try decide(lists)
        return nil
    }

    private func takeManifest(_ id: String, _ bytes: [UInt8]) throws(SnapshotTreeError) {
        guard let named = header.snapshots.first(where: { $0.id == id }) else {
            throw .badArchive("its header does not name snapshot \(id)")
        }
        let place = "the manifest of \(id)"
        let manifest: Manifest
        do throws(SnapshotTreeError) {
            manifest = try Manifest.decoded(bytes, from: place)
            try manifest.checkSealed(bytes, from: place)
        } catch {
            if case .versionMismatch = error { throw error }
            throw .badArchive("\(place) has other content than was saved")
        }
        guard manifest.id == id, manifest.digest == named.digest, manifest.parent != id else {
            throw .badArchive("\(place) is that of another snapshot")
        }
        if let here = try tree.record(id)?.manifest {
            guard here.isSame(as: manifest) else { throw .otherContent("snapshot \(id)") }
            known.insert(id)
        } else {
            try staging.claim(id, layers: Set(manifest.layers))
            // Asked again: an import that has just ended may have brought it.
            guard try tree.record(id) == nil else { throw .importUnderWay(id) }
            manifests[id] = manifest
            try write(bytes, to: "snapshots/\(id)/manifest.json", in: "snapshots/\(id)")
        }
    }

    private func takeList(
        _ entry: ArchivedFile, _ tree: ArchiveTree
    ) throws(SnapshotTreeError) -> (entries: Int, bytes: Int64) {
        guard let part = header.parts.first(where: { ArchiveTree($0) == tree && $0.isIncluded }) else {
            throw .badArchive("its header does not name \(tree.listPath)")
        }
        let bytes = try bytes(of: entry, limit: Self.listLimit)
        guard Digest(of: bytes).description == part.digest, let list = DigestList(bytes) else {
            throw .badArchive("\(tree.listPath) has other content than was saved")
        }
        guard list.entries["."]?.type == UInt32(S_IFDIR), let size = list.regularBytes else {
            throw .badArchive("\(tree.listPath) describes no directory")
        }
        for (path, file) in list.entries where !Self.mayHold(file, tree) {
            throw .badArchive("\(tree.path)/\(path) is a file that does not belong there")
        }
        if case .process(let id) = tree, manifests[id] == nil { return (list.entries.count, size) }
        var directory: String?
        if case .process(let id) = tree { directory = "snapshots/\(id)" }
        try write(bytes, to: tree.listPath, in: directory)
        return (list.entries.count, size)
    }

    /// A process image is files; a layer has devices only where no harm is in them: whiteouts and the like of null.
    private static func mayHold(_ file: DigestList.Entry, _ tree: ArchiveTree) -> Bool {
        switch (mode_t(file.type), tree) {
        case (S_IFREG, _), (S_IFDIR, _): return true
        case (_, .process): return false
        case (S_IFCHR, _): return file.size == 0 || harmlessDevices.contains(file.size)
        case (S_IFLNK, _), (S_IFIFO, _), (S_IFSOCK, _): return true
        default: return false
        }
    }

    private func takeProgram(_ id: String, _ bytes: [UInt8]) throws(SnapshotTreeError) {
        guard header.parts.contains(where: { $0.kind == .program && $0.id == id && $0.isIncluded }) else {
            throw .badArchive("its header does not name init/\(id)")
        }
        if let problem = programs.problem(id, bytes) { throw .badArchive("init/\(id) \(problem)") }
        if access("\(tree.root)/init/\(id)", F_OK) == 0 { return }
        wantedPrograms.insert(id)
        try write(bytes, to: "init/\(id)", in: nil, mode: 0o700)
    }

    // MARK: - What is needed

    /// Compares what is in the archive with what is here, before any tree is made.
    private func decide(_ lists: [ArchiveTree: (entries: Int, bytes: Int64)]) throws(SnapshotTreeError) {
        for snapshot in header.snapshots where manifests[snapshot.id] == nil && !known.contains(snapshot.id) {
            throw .badArchive("the manifest of \(snapshot.id) is missing")
        }
        let sums = lists.values.reduce((0, Int64(0))) { sum, list in
            (
                sum.0 + list.entries,
                sum.1.addingReportingOverflow(list.bytes).overflow ? .max : sum.1 + list.bytes
            )
        }
        guard sums == (header.entries, header.bytes) else {
            throw .badArchive("its header says it holds \(header.bytes) bytes, and its lists \(sums.1)")
        }
        for part in header.parts {
            guard let stored = ArchiveTree(part) else { continue }
            if part.isIncluded, lists[stored] == nil { throw .badArchive("\(stored.listPath) is missing") }
            try decide(stored, part)
        }
        for manifest in manifests.values {
            try checkParts(of: manifest)
            for id in try programs.needed(manifest) where !wantedPrograms.contains(id) {
                guard access("\(tree.root)/init/\(id)", F_OK) == 0 else {
                    throw .incompleteArchive("ckpt-init \(id)")
                }
            }
        }
    }

    private func decide(_ stored: ArchiveTree, _ part: ArchiveHeader.Part) throws(SnapshotTreeError) {
        if let digest = try tree.digest(of: stored) {
            guard digest.description == part.digest else {
                throw .otherContent("\(stored.path) (saved with other content)")
            }
            present.insert(stored)
        } else if part.isIncluded {
            wanted.insert(stored)
        } else if case .process(let id) = stored, manifests[id] == nil {
            throw .incompleteArchive("snapshot \(id)")
        } else {
            throw .incompleteArchive("\(part.kind == .layer ? "layer" : "the process image of") \(part.id)")
        }
    }

    /// Each digest that a manifest has is the one that the header, and so the lists, were held to.
    private func checkParts(of manifest: Manifest) throws(SnapshotTreeError) {
        func digest(_ kind: StoredObject.Kind, _ id: String) -> String? {
            header.parts.first { $0.kind == kind && $0.id == id }?.digest
        }
        for layer in Set(manifest.layers + [manifest.ownLayer].compactMap { $0 }) {
            guard let known = manifest.layerDigests[layer], known.description == digest(.layer, layer) else {
                throw .badArchive("layer \(layer) is another one than snapshot \(manifest.id) has")
            }
        }
        guard let process = manifest.processDigest, process.description == digest(.process, manifest.id)
        else {
            throw .badArchive("the process image of \(manifest.id) is another one than it has")
        }
    }

    // MARK: - Trees

    private func readTrees(
        from first: (ArchivedFile, ArchiveTree, [[UInt8]])?
    ) throws(SnapshotTreeError) {
        var current: ImportedTree?
        var next = first
        while let (entry, stored, parts) = next {
            if wanted.contains(stored) {
                if current?.tree != stored {
                    try finish(current)
                    guard !finished.contains(stored) else {
                        throw .badArchive("\(stored.path) is there twice")
                    }
                    current = try ImportedTree(
                        stored, try stagedList(of: stored), below: staging.path, counting: done)
                }
                try current!.take(
                    entry, parts, source: try source(of: entry), twin: { self.twin(stored, parts, $0, $1) },
                    from: reader)
            } else if present.contains(stored) {
                done.add(entry.size)
            } else {
                throw .badArchive("its header does not name \(stored.path)")
            }
            next = try nextOfTree()
        }
        try finish(current)
        if let missing = wanted.first(where: { !finished.contains($0) }) {
            throw .badArchive("\(missing.path) is missing")
        }
    }

    private func nextOfTree() throws(SnapshotTreeError) -> (ArchivedFile, ArchiveTree, [[UInt8]])? {
        guard let entry = try next() else { return nil }
        guard case .tree(let stored, let parts) = try ArchivePlace(entry.name) else {
            throw .badArchive("\(shown(entry)) comes too late")
        }
        return (entry, stored, parts)
    }

    private func finish(_ current: ImportedTree?) throws(SnapshotTreeError) {
        guard let current else { return }
        contents = try current.finish(contents)
        finished.insert(current.tree)
    }

    private func stagedList(of stored: ArchiveTree) throws(SnapshotTreeError) -> DigestList {
        let bytes = try wrapping { () throws(SystemError) in
            try Files.read("\(staging.path)/\(stored.listPath)")
        }
        guard let list = DigestList(bytes) else {
            throw .badArchive("\(stored.listPath) cannot be read back")
        }
        return list
    }

    /// Where a hard link leads: into a tree that is being made or was, or into one that is here.
    private func source(of entry: ArchivedFile) throws(SnapshotTreeError) -> ImportedTree.LinkSource? {
        guard let target = entry.hardLink else { return nil }
        guard case .tree(let stored, let parts) = try ArchivePlace(target), !parts.isEmpty else {
            throw .badArchive("\(shown(entry)) is a link out of it")
        }
        if wanted.contains(stored) {
            return .init(root: "\(staging.path)/\(stored.path)", parts: parts, digest: nil)
        }
        guard present.contains(stored) else { throw .badArchive("\(shown(entry)) is a link out of it") }
        let digest = try storedList(of: stored).entries[ImportedTree.escaped(parts)]?.content
        return .init(root: "\(tree.root)/\(stored.path)", parts: parts, digest: digest)
    }

    /// The file of the parent's process image that an inherited one is the same as, where the parent is here.
    private func twin(
        _ stored: ArchiveTree, _ parts: [[UInt8]], _ digest: Digest, _ size: Int64
    ) -> ImportedTree.LinkSource? {
        guard case .process(let id) = stored, size >= 4096, let parent = manifests[id]?.parent,
            let name = parts.last, let above = try? tree.record(parent)
        else { return nil }
        let from = ArchiveTree.process(snapshot: above.id)
        guard let list = try? storedList(of: from) else { return nil }
        let last = ImportedTree.escaped([name])
        let found = list.entries.first { path, entry in
            entry.content == digest && entry.size == size && (path == last || path.hasSuffix("/\(last)"))
        }
        guard let path = found?.key, !path.contains("%") else { return nil }
        let place = path.split(separator: "/").map { Array($0.utf8) }
        return .init(root: "\(tree.root)/\(from.path)", parts: place, digest: digest)
    }

    /// The list of a tree that is here.
    private func storedList(of stored: ArchiveTree) throws(SnapshotTreeError) -> DigestList {
        if let list = storedLists[stored] { return list }
        let list = try tree.list(of: stored, try tree.digest(of: stored))
        storedLists = [stored: list]
        return list
    }

    // MARK: - The stream

    private func next() throws(SnapshotTreeError) -> ArchivedFile? {
        do { return try reader.next() } catch { throw .badArchive(error.description) }
    }

    private func bytes(of entry: ArchivedFile, limit: Int64) throws(SnapshotTreeError) -> [UInt8] {
        guard entry.type == UInt32(S_IFREG), entry.hardLink == nil else {
            throw .badArchive("\(shown(entry)) is no regular file")
        }
        guard entry.size <= limit else { throw .badArchive("\(shown(entry)) is larger than \(limit) bytes") }
        var bytes: [UInt8] = []
        try reader.readData({ (offset, piece) throws(SnapshotTreeError) in
            guard offset == Int64(bytes.count), Int64(bytes.count + piece.count) <= limit else {
                throw .badArchive("\(shown(entry)) has holes")
            }
            bytes.append(contentsOf: piece)
        }) { .badArchive($0.description) }
        return bytes
    }

    private func write(
        _ bytes: [UInt8], to path: String, in directory: String?, mode: mode_t = 0o600
    ) throws(SnapshotTreeError) {
        try wrapping { () throws(SystemError) in
            if let directory { try Files.makeDirectory("\(staging.path)/\(directory)") }
            try Files.write("\(staging.path)/\(path)", bytes, mode: mode)
        }
    }

    private func shown(_ entry: ArchivedFile) -> String { "'\(String(decoding: entry.name, as: UTF8.self))'" }
}

extension Manifest {
    /// Whether both are of one saving; a deletion may have moved one up to another parent.
    fileprivate func isSame(as other: Manifest) -> Bool {
        var (one, two) = (self, other)
        (one.parent, one.digest, two.parent, two.digest) = (nil, nil, nil, nil)
        return one == two
    }
}

extension SnapshotTree {
    /// The digest that a tree has here; nil where it is not here.
    func digest(of stored: ArchiveTree) throws(SnapshotTreeError) -> Digest? {
        switch stored {
        case .process(let id): return try record(id)?.manifest.processDigest
        case .layer(let id):
            guard access(layout.layerPath(id), F_OK) == 0 else { return nil }
            let lister = try locked { (catalog) throws(SnapshotTreeError) in try catalog.lister(of: id) }
            if let digest = lister?.layerDigests[id] { return digest }
            // No snapshot lists it: only a sandbox stands on it.
            return (try? Files.read(layout.digestsPath(ofLayer: id))).map { Digest(of: $0) }
        }
    }
}
