import Digests
import Glibc
import LinuxSystem
import Messages

/// The end of an import: what was staged and checked becomes part of the store.
extension SnapshotImport {
    /// Makes everything durable, unless the store is never flushed, then visible; when it throws nothing of it is visible.
    ///
    /// Layers and programs come first: after a crash they are there and nobody lists them. Each snapshot is published
    /// by one rename, parents before children, so that a crash leaves whole snapshots, and the next start gives them
    /// their rows. Nobody else publishes or deletes meanwhile.
    func publish(tag: String?) throws(SnapshotTreeError) -> SnapshotTree.Imported {
        var imported = SnapshotTree.Imported(snapshot: header.snapshots.last!.id, system: header.system)
        let order = header.snapshots.filter { manifests[$0.id] != nil }
        imported.imported = order.map(\.id)
        imported.known = header.snapshots.map(\.id).filter { manifests[$0] == nil }
        imported.newObjects = wanted.count
        imported.knownObjects = header.parts.count { ArchiveTree($0).map { !wanted.contains($0) } == true }
        guard !order.isEmpty else {
            if let tag { try tree.tag(imported.snapshot, as: tag) }
            return imported
        }
        var tags = try freeTags(of: order, &imported)
        if let tag, tags[imported.snapshot]?.contains(tag) == false {
            if manifests[imported.snapshot] == nil {
                try tree.tag(imported.snapshot, as: tag)
            } else {
                tags[imported.snapshot]!.append(tag)
            }
        }
        try makeDurable(order.map(\.id), tags)
        try tree.locked { (catalog) throws(SnapshotTreeError) in
            try makeVisible(order.map(\.id), tags, catalog)
        }
        if let last = order.last { tree.compactSoon(below: manifests[last.id]!) }
        return imported
    }

    /// The tags that each new snapshot can have here.
    private func freeTags(
        of snapshots: [ArchiveHeader.Snapshot], _ imported: inout SnapshotTree.Imported
    ) throws(SnapshotTreeError) -> [String: [String]] {
        var tags: [String: [String]] = [:]
        for snapshot in snapshots {
            tags[snapshot.id] = []
            for tag in snapshot.tags {
                do throws(SnapshotTreeError) {
                    try tree.checkTagFree(tag)
                    tags[snapshot.id]!.append(tag)
                } catch {
                    if case .badTag = error { throw .badArchive("\(tag.prefix(80)) can be no tag") }
                    guard case .tagTaken = error else { throw error }
                    imported.takenTags.append(tag)
                }
            }
        }
        return tags
    }

    private func makeDurable(_ ids: [String], _ tags: [String: [String]]) throws(SnapshotTreeError) {
        try wrapping { () throws(SystemError) in
            for id in ids {
                let directory = try Descriptor.directory("\(staging.path)/snapshots/\(id)")
                let text = (tags[id] ?? []).sorted().map { "\($0)\n" }.joined()
                if !text.isEmpty {
                    try directory.replaceFile("tags", with: Array(text.utf8), durable: false)
                }
                if tree.durability == .none {
                    try directory.replaceFile(Flusher.bootName, with: Flusher.bootID(), durable: false)
                } else {
                    try directory.replaceFile(Flusher.durableName, with: [], durable: false)
                }
            }
            if tree.durability == .none { return tree.flusher.fallBehind() }
            // What is here already, and therefore did not come, nobody may have flushed.
            try tree.flusher.catchUp()
            try TreeSync.synchronize(Descriptor.directory(staging.path))
        }
        try step(.madeDurable)
    }

    private func makeVisible(
        _ ids: [String], _ tags: [String: [String]], _ catalog: Catalog
    ) throws(SnapshotTreeError) {
        var moved: [(from: String, to: String)] = []
        func move(_ path: String) throws(SnapshotTreeError) {
            let (from, to) = ("\(staging.path)/\(path)", "\(tree.root)/\(path)")
            try wrapping { () throws(SystemError) in
                _ = try retrying("renameat2", path) {
                    renameat2(AT_FDCWD, from, AT_FDCWD, to, UInt32(RENAME_NOREPLACE))
                }
            }
            moved.append((from, to))
        }
        do throws(SnapshotTreeError) {
            for id in wantedPrograms where access("\(tree.root)/init/\(id)", F_OK) != 0 {
                try wrapping { () throws(SystemError) in try Files.makeDirectory("\(tree.root)/init") }
                try move("init/\(id)")
            }
            try step(.programsMoved)
            for case .layer(let id) in wanted {
                if try isHereMeanwhile(layer: id) { continue }
                try move("digests/\(id)")
                try move("layers/\(id)")
            }
            try synchronize(["init", "digests", "layers"])
            try step(.layersMoved)
            for id in ids { try move("snapshots/\(id)") }
            try synchronize(["snapshots"])
            try step(.snapshotsMoved)
            try insertRows(ids, tags, catalog)
        } catch {
            for (from, to) in moved.reversed() { _ = rename(to, from) }
            throw error
        }
    }

    /// Whether another import or a gc that came between changed what is here of a layer.
    private func isHereMeanwhile(layer id: String) throws(SnapshotTreeError) -> Bool {
        let list = (try? Files.read(tree.layout.digestsPath(ofLayer: id))).map { Digest(of: $0) }
        guard access(tree.layout.layerPath(id), F_OK) == 0 else {
            // The list of a layer that a crash took away.
            if list != nil { unlink(tree.layout.digestsPath(ofLayer: id)) }
            return false
        }
        let part = header.parts.first { $0.kind == .layer && $0.id == id }
        guard let list, list.description == part?.digest else { throw .otherContent("layers/\(id)") }
        return true
    }

    private func insertRows(
        _ ids: [String], _ tags: [String: [String]], _ catalog: Catalog
    ) throws(SnapshotTreeError) {
        for id in ids {
            for layer in manifests[id]!.layers where access(tree.layout.layerPath(layer), F_OK) != 0 {
                throw .incompleteArchive("layer \(layer), deleted meanwhile,")
            }
        }
        try catalog.transaction { () throws(SnapshotTreeError) in
            for id in ids {
                let manifest = manifests[id]!
                let hasParent = try manifest.parent.map { (id) throws(SnapshotTreeError) in
                    try catalog.contains(id)
                }
                try catalog.insert(manifest, lostParent: hasParent == false ? manifest.parent : nil)
                for tag in tags[id] ?? [] {
                    if let owner = try catalog.owner(of: tag) { throw .tagTaken(tag, by: owner) }
                    try catalog.insertTag(tag, of: id)
                }
            }
            for id in ids { _ = try catalog.adopt(by: id) }
            try step(.rowsInserted)
        }
        for id in ids { catalog.index.add(manifests[id]!) }
    }

    private func synchronize(_ directories: [String]) throws(SnapshotTreeError) {
        guard tree.durability != .none else { return }
        try wrapping { () throws(SystemError) in
            for name in directories where access("\(tree.root)/\(name)", F_OK) == 0 {
                try Descriptor.directory("\(tree.root)/\(name)").synchronize()
            }
        }
    }
}
