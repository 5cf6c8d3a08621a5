import Glibc
import LinuxSystem
import Messages

extension SnapshotTree {
    /// Throws `badTag` for a text that cannot be a tag, `tagTaken` when a snapshot carries it.
    ///
    /// Ask before a save begins: `publish` asks again, after the work is done.
    public func checkTagFree(_ tag: String) throws(SnapshotTreeError) {
        try Identifier.checkTag(tag)
        let owner = try locked { (catalog) throws(SnapshotTreeError) in try catalog.owner(of: tag) }
        if let owner { throw .tagTaken(tag, by: owner) }
    }

    /// Gives the snapshot a tag; one that it already has is no error.
    ///
    /// Throws `badTag`, `tagTaken` when another snapshot carries it, `unknownReference`.
    public func tag(_ id: String, as tag: String) throws(SnapshotTreeError) {
        try Identifier.checkTag(tag)
        try locked { (catalog) throws(SnapshotTreeError) in
            guard try catalog.contains(id) else { throw .unknownReference(id) }
            if let owner = try catalog.owner(of: tag) {
                guard owner == id else { throw .tagTaken(tag, by: owner) }
                return
            }
            try catalog.transaction { () throws(SnapshotTreeError) in
                try catalog.insertTag(tag, of: id)
                try writeTags(of: id, catalog)
            }
        }
    }

    /// Takes a tag away and returns the id of the snapshot that had it; throws `unknownTag`.
    @discardableResult
    public func untag(_ tag: String) throws(SnapshotTreeError) -> String {
        try locked { (catalog) throws(SnapshotTreeError) in
            guard let id = try catalog.owner(of: tag) else { throw .unknownTag(tag) }
            try catalog.transaction { () throws(SnapshotTreeError) in
                try catalog.removeTag(tag)
                try writeTags(of: id, catalog)
            }
            return id
        }
    }

    /// Writes the tags down beside the snapshot, on the disk. They count after a crash, so the catalog need not be on
    /// the disk too.
    private func writeTags(of id: String, _ catalog: Catalog) throws(SnapshotTreeError) {
        let text = try catalog.tags(of: id).map { "\($0)\n" }.joined()
        try wrapping { () throws(SystemError) in
            let directory = try Descriptor.open(id, below: layout.snapshots, O_RDONLY | O_DIRECTORY)
            try directory.replaceFile("tags", with: Array(text.utf8), durable: durability != .none)
        }
    }
}
