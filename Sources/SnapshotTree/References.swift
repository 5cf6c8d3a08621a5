/// A reference taken apart: the name before `~`, and how many ancestors up.
struct Reference: Equatable {
    let name: String
    let ancestors: Int

    /// More would be a slip of the finger; no tree is that deep.
    static let mostAncestors = 1_000_000

    /// Parses `NAME`, `NAME~` (one up) and `NAME~N`.
    init(_ text: String) throws(SnapshotTreeError) {
        guard let tilde = text.firstIndex(of: "~") else {
            guard !text.isEmpty else { throw .badReference(text, reason: "it is empty") }
            name = text
            ancestors = 0
            return
        }
        name = String(text[..<tilde])
        guard !name.isEmpty else { throw .badReference(text, reason: "nothing stands before ~") }
        let number = text[text.index(after: tilde)...]
        guard number.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
            throw .badReference(text, reason: "~ is followed by something else than a number")
        }
        guard let count = number.isEmpty ? 1 : Int(number), count <= Self.mostAncestors else {
            throw .badReference(text, reason: "the number after ~ is too large")
        }
        ancestors = count
    }
}

extension SnapshotTree {
    /// Finds the snapshot that a reference means.
    ///
    /// What stands before `~` is taken as, in this order: a full id, a tag, the name of a sandbox (the
    /// snapshot it stands on, which `sandboxPosition` tells; nil for a name it does not know or a sandbox
    /// at the base), a prefix of an id of two digits or more. `~N` then climbs N parents.
    /// Throws `unknownReference`, `ambiguous`, `badReference` and `noAncestor`.
    public func resolve(
        reference text: String, sandboxPosition: (String) -> String? = { _ in nil }
    ) throws(SnapshotTreeError) -> Record {
        let reference = try Reference(text)
        // Asked outside the lock: the caller may hold locks of its own in there.
        let id =
            if let id = try find(named: reference.name) {
                id
            } else if let position = sandboxPosition(reference.name) {
                position
            } else {
                try find(prefix: reference.name)
            }
        let target = try climb(reference.ancestors, from: id, text)
        guard let record = try record(target) else { throw .unknownReference(text) }
        return record
    }

    private func find(named name: String) throws(SnapshotTreeError) -> String? {
        try locked { (catalog) throws(SnapshotTreeError) in
            if Identifier.isValid(name), try catalog.contains(name) { return name }
            return try catalog.owner(of: name)
        }
    }

    private func find(prefix: String) throws(SnapshotTreeError) -> String {
        guard Identifier.isPrefix(prefix) else { throw .unknownReference(prefix) }
        let candidates = try locked { (catalog) throws(SnapshotTreeError) in try catalog.ids(prefix: prefix) }
        guard let first = candidates.first else { throw .unknownReference(prefix) }
        guard candidates.count == 1 else { throw .ambiguous(prefix, candidates: candidates) }
        return first
    }

    private func climb(_ count: Int, from id: String, _ text: String) throws(SnapshotTreeError) -> String {
        try locked { (catalog) throws(SnapshotTreeError) in
            var id = id
            for climbed in 0..<count {
                guard let parent = try catalog.parent(of: id) else {
                    throw .noAncestor(reference: text, available: climbed)
                }
                id = parent
            }
            return id
        }
    }
}
