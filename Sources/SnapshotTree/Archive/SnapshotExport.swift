import Digests
import Glibc
public import LinuxSystem
public import LocalArchive
public import Messages

/// What the engine knows of the programs that snapshots need, which the store keeps and does not understand.
public struct ArchivePrograms: Sendable {
    /// The versions of ckpt-init that a snapshot needs, by the names of their files in `init/`.
    public let needed: @Sendable (Manifest) throws(SnapshotTreeError) -> [String]
    /// What is wrong with the bytes of a version; nil when nothing is.
    public let problem: @Sendable (_ id: String, _ bytes: [UInt8]) -> String?

    /// The engine's two answers.
    public init(
        needed: @escaping @Sendable (Manifest) throws(SnapshotTreeError) -> [String],
        problem: @escaping @Sendable (_ id: String, _ bytes: [UInt8]) -> String?
    ) {
        self.needed = needed
        self.problem = problem
    }
}

extension SnapshotTree {
    /// Writes snapshots and all they need into one archive (docs/archive.md).
    ///
    /// `records` come parents first, the last is what was asked for. Layers, process images and programs that `have`
    /// names, with the digest they have here, are left out; the receiver must have them. Memory is bounded by the
    /// digest list of the largest layer. Nobody may delete a snapshot of `records` meanwhile.
    /// Throws `notArchived` when `write` throws, `damaged`, `damagedSnapshot` and `system`.
    public func export(
        _ records: [Record], have: Set<StoredObject> = [], programs: ArchivePrograms, level: Int,
        watch: WorkWatch = unwatchedWork, write: @escaping ArchiveWriter.Output
    ) throws(SnapshotTreeError) {
        for record in records { try checkBeforeUse(record) }
        var export = SnapshotExport(tree: self, records: records)
        try export.plan(have: Set(have.map(Object.init)), programs)
        let writer = try writing { () throws(ArchiveError) in
            try ArchiveWriter(level: level, write: write)
        }
        watch("writing", .bytes, export.done, export.bytes)
        try export.run(writer)
        try writing { () throws(ArchiveError) in try writer.finish() }
    }

    /// What snapshots are made of, each thing once.
    public func objects(
        of records: [Record], programs: ArchivePrograms
    ) throws(SnapshotTreeError) -> [StoredObject] {
        var seen: Set<Object> = []
        var objects: [StoredObject] = []
        func add(_ kind: StoredObject.Kind, _ id: String, _ digest: String, _ bytes: Int64) {
            guard seen.insert(Object(kind: kind, id: id, digest: digest)).inserted else { return }
            objects.append(StoredObject(kind: kind, id: id, digest: digest, bytes: bytes))
        }
        for record in records {
            let manifest = record.manifest
            for layer in manifest.layers {
                guard let digest = manifest.layerDigests[layer] else { continue }
                let isOwn = layer == manifest.ownLayer
                add(.layer, layer, digest.description, isOwn ? manifest.layerTotalBytes : 0)
            }
            if let digest = manifest.processDigest {
                add(.process, manifest.id, digest.description, manifest.processBytes)
            }
            for program in try programs.needed(manifest) { add(.program, program, program, 0) }
        }
        return objects
    }
}

/// What tells one object from another.
struct Object: Hashable {
    let kind: StoredObject.Kind
    let id: String
    let digest: String

    init(kind: StoredObject.Kind, id: String, digest: String) {
        (self.kind, self.id, self.digest) = (kind, id, digest)
    }

    init(_ object: StoredObject) { self.init(kind: object.kind, id: object.id, digest: object.digest) }
}

/// One run of an export.
private struct SnapshotExport {
    private let tree: SnapshotTree
    private let records: [SnapshotTree.Record]
    private var header: ArchiveHeader
    /// Of the bytes of regular files.
    let done = WorkCount()
    var bytes: Int64 { header.bytes }
    /// Trees that the receiver has: files with several names may link to them.
    private var left: [ArchiveTree] = []

    init(tree: SnapshotTree, records: [SnapshotTree.Record]) {
        self.tree = tree
        self.records = records
        header = ArchiveHeader(snapshots: [], parts: [])
    }

    /// Decides what goes into the archive and counts it.
    mutating func plan(
        have: Set<Object>, _ programs: ArchivePrograms
    ) throws(SnapshotTreeError) {
        for record in records {
            guard let digest = record.manifest.digest else {
                throw .notArchived("snapshot \(record.id) has no digest")
            }
            header.snapshots.append(.init(id: record.id, digest: digest, tags: record.tags))
            for layer in record.layers where record.manifest.layerDigests[layer] == nil {
                throw .notArchived("layer \(layer) of snapshot \(record.id) has no digest")
            }
        }
        for object in try tree.objects(of: records, programs: programs) {
            let part = ArchiveHeader.Part(
                kind: object.kind, id: object.id, digest: object.digest,
                isIncluded: !have.contains(Object(object)))
            header.parts.append(part)
            guard let stored = ArchiveTree(part) else { continue }
            if part.isIncluded {
                let list = try tree.list(of: stored, Digest(part.digest))
                header.entries += list.entries.count
                header.bytes += list.regularBytes ?? 0
            } else {
                left.append(stored)
            }
        }
        // What a snapshot shares with ancestors is linked from them, where the receiver has those.
        for record in try tree.rollout(to: records[0].id).dropLast().suffix(4) {
            guard let digest = record.manifest.processDigest else { continue }
            let part = ArchiveHeader.Part(
                kind: .process, id: record.id, digest: digest.description, isIncluded: false)
            guard have.contains(Object(kind: .process, id: part.id, digest: part.digest)) else { continue }
            header.parts.append(part)
            left.append(.process(snapshot: record.id))
        }
    }

    func run(_ writer: ArchiveWriter) throws(SnapshotTreeError) {
        try add(writer, ArchiveHeader.name, try header.encoded())
        for record in records {
            try add(writer, "snapshots/\(record.id)/manifest.json", try record.manifest.encoded())
        }
        let included = header.parts.filter(\.isIncluded)
        for part in included {
            let path = ArchiveTree(part)?.listPath ?? "init/\(part.id)"
            try add(
                writer, path,
                try wrapping { () throws(SystemError) in try Files.read("\(tree.root)/\(path)") })
        }
        let firstNames = ArchivedTree.FirstNames()
        for stored in left {
            // One that somebody deletes meanwhile is not linked to, and the import says so.
            guard let directory = try? Descriptor.directory("\(tree.root)/\(stored.path)") else { continue }
            try ArchivedTree.note(stored, at: directory, firstNames)
        }
        for stored in included.compactMap(ArchiveTree.init) {
            let directory = try wrapping { () throws(SystemError) in
                try Descriptor.directory("\(tree.root)/\(stored.path)")
            }
            try ArchivedTree.write(stored, at: directory, to: writer, firstNames, counting: done)
        }
    }

    private func add(_ writer: ArchiveWriter, _ name: String, _ bytes: [UInt8]) throws(SnapshotTreeError) {
        try writing { () throws(ArchiveError) in try writer.add(name, bytes) }
    }
}

extension SnapshotTree {
    /// The digest list of a layer or a process image of this store, which must have that digest.
    func list(of tree: ArchiveTree, _ digest: Digest?) throws(SnapshotTreeError) -> DigestList {
        let bytes = try wrapping { () throws(SystemError) in try Files.read("\(layout.root)/\(tree.listPath)")
        }
        guard Digest(of: bytes) == digest, let list = DigestList(bytes) else {
            throw .damaged(what: tree.listPath, reason: "it has other content than was saved")
        }
        return list
    }
}

extension DigestList {
    /// The bytes of all regular files; nil where a size is below 0 or the sum too large to be true.
    var regularBytes: Int64? {
        var sum: Int64 = 0
        for entry in entries.values where entry.type == UInt32(S_IFREG) {
            let (next, overflow) = sum.addingReportingOverflow(entry.size)
            guard entry.size >= 0, !overflow else { return nil }
            sum = next
        }
        return sum
    }
}
