import CSQLite
import FoundationEssentials
import Glibc
import Messages

/// The index of the tree: one row a snapshot, one row a tag. Used by one thread at a time.
final class Catalog {
    /// The version of the tables below, kept in `PRAGMA user_version`.
    static let schemaVersion = 1

    private static let schema = """
        CREATE TABLE snapshots (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            parent TEXT REFERENCES snapshots(id) ON DELETE SET NULL,
            lost_parent TEXT,
            layers TEXT NOT NULL,
            manifest TEXT NOT NULL
        );
        CREATE INDEX snapshots_parent ON snapshots(parent);
        CREATE TABLE tags (
            tag TEXT PRIMARY KEY,
            snapshot TEXT NOT NULL REFERENCES snapshots(id) ON DELETE CASCADE
        ) WITHOUT ROWID;
        CREATE INDEX tags_snapshot ON tags(snapshot);
        PRAGMA user_version = \(schemaVersion);
        """

    private let database: Database
    /// Who needs which layer; brought in line once a transaction has ended well.
    var index = LayerIndex()
    /// What lists say, kept in line by every change.
    var listing = Listing()
    // Manifests never change once published, so each is decoded once.
    private var manifests: [String: Manifest] = [:]
    private var cpuFeatures: [String] = []

    /// Opens the catalog, or makes an empty one; throws `damaged` or `versionMismatch`.
    init(path: String, durability: Durability) throws(SnapshotTreeError) {
        database = try Database(path: path)
        // The store is ours alone, so the journal's index need not be shared with anybody: mapped from a file, it kills
        // the process with SIGBUS once a quota of btrfs is used up (sqlite.org/wal.html, "Use of WAL Without
        // Shared-Memory").
        try database.execute("PRAGMA locking_mode=EXCLUSIVE")
        try database.execute("PRAGMA journal_mode=WAL; PRAGMA foreign_keys=ON")
        try database.execute("PRAGMA synchronous=\(Self.synchronous(durability))")
        let version = try database.rows("PRAGMA user_version") { Int($0.integer(0)) }.first ?? 0
        switch version {
        case Self.schemaVersion: return
        case 0: try database.transaction { () throws(SnapshotTreeError) in try database.execute(Self.schema) }
        default:
            throw .versionMismatch(
                what: "the catalog \(path)", found: "\(version)", expected: "\(Self.schemaVersion)")
        }
    }

    /// Throws `damaged` unless every page of the file can be read (PRAGMA quick_check).
    func check() throws(SnapshotTreeError) {
        let answer = try database.rows("PRAGMA quick_check(1)") { $0.text(0) ?? "" }
        guard answer == ["ok"] else {
            throw .damaged(what: "the catalog", reason: answer.first ?? "quick_check says nothing")
        }
    }

    /// Moves everything from the journal to the catalog's file.
    func emptyJournal() throws(SnapshotTreeError) { try database.execute("PRAGMA wal_checkpoint(TRUNCATE)") }

    func transaction<Result>(
        _ body: () throws(SnapshotTreeError) -> Result
    ) throws(SnapshotTreeError) -> Result {
        do throws(SnapshotTreeError) { return try database.transaction(body) } catch {
            listing.forget()
            throw error
        }
    }

    private static func synchronous(_ durability: Durability) -> String {
        switch durability {
        case .none: "OFF"
        case .deferred, .snapshot: "NORMAL"
        case .always: "FULL"
        }
    }

    // MARK: - Snapshots

    /// Adds a row; `lostParent` is set where the parent is not in the tree any more.
    func insert(_ manifest: Manifest, lostParent: String? = nil) throws(SnapshotTreeError) {
        try database.run(
            "INSERT INTO snapshots (id, parent, lost_parent, layers, manifest) VALUES (?, ?, ?, ?, ?)",
            .text(manifest.id), .text(lostParent == nil ? manifest.parent : nil), .text(lostParent),
            .text(manifest.layers.joined(separator: " ")), .text(try Self.json(manifest)))
        manifests[manifest.id] = manifest
        listing.append(manifest.id)
        listing.change(manifest.parent)
    }

    /// Gives snapshots that lost a parent of this id that parent back, unless one is its ancestor; their ids.
    func adopt(by id: String) throws(SnapshotTreeError) -> [String] {
        var ancestors: Set<String> = [id]
        var next = try parent(of: id)
        while let above = next, ancestors.insert(above).inserted { next = try parent(of: above) }
        let orphans = try database.rows("SELECT id FROM snapshots WHERE lost_parent = ?", .text(id)) {
            $0.text(0)!
        }.filter { !ancestors.contains($0) }
        for orphan in orphans {
            try database.run(
                "UPDATE snapshots SET parent = ?, lost_parent = NULL WHERE id = ?", .text(id), .text(orphan))
            listing.change(orphan)
        }
        listing.change(id)
        return orphans
    }

    /// Writes down that a snapshot has another parent, as its manifest says.
    func reparent(_ manifest: Manifest) throws(SnapshotTreeError) {
        try database.run(
            "UPDATE snapshots SET parent = ?, manifest = ? WHERE id = ?", .text(manifest.parent),
            .text(try Self.json(manifest)), .text(manifest.id))
        listing.change(manifest.id)
        listing.change(manifest.parent)
        manifests[manifest.id] = manifest
    }

    private static func json(_ manifest: Manifest) throws(SnapshotTreeError) -> String {
        do { return String(decoding: try JSONEncoder().encode(manifest), as: UTF8.self) } catch {
            throw .badManifest("the manifest cannot be written as JSON: \(error)")
        }
    }

    /// Takes the row and its tags away; children keep the id as the parent they lost.
    func remove(_ id: String) throws(SnapshotTreeError) {
        for relative in try children(of: id) + [try parent(of: id)] { listing.change(relative) }
        listing.remove(id)
        try database.run("UPDATE snapshots SET lost_parent = parent WHERE parent = ?", .text(id))
        try database.run("DELETE FROM snapshots WHERE id = ?", .text(id))
        manifests[id] = nil
    }

    func contains(_ id: String) throws(SnapshotTreeError) -> Bool {
        try !database.rows("SELECT 1 FROM snapshots WHERE id = ?", .text(id)) { _ in true }.isEmpty
    }

    /// All ids, oldest first.
    func ids() throws(SnapshotTreeError) -> [String] {
        try database.rows("SELECT id FROM snapshots ORDER BY seq") { $0.text(0)! }
    }

    /// The ids that start with `prefix`, oldest first.
    func ids(prefix: String) throws(SnapshotTreeError) -> [String] {
        // A range instead of LIKE: it can use the index. "g" sorts after every hexadecimal digit.
        try database.rows(
            "SELECT id FROM snapshots WHERE id >= ? AND id < ? ORDER BY seq",
            .text(prefix), .text(prefix + "g")
        ) { $0.text(0)! }
    }

    func children(of id: String) throws(SnapshotTreeError) -> [String] {
        try database.rows("SELECT id FROM snapshots WHERE parent = ? ORDER BY seq", .text(id)) { $0.text(0)! }
    }

    /// Every snapshot's children, oldest first.
    func allChildren() throws(SnapshotTreeError) -> [String: [String]] {
        let sql = "SELECT parent, id FROM snapshots WHERE parent IS NOT NULL ORDER BY seq"
        return Dictionary(
            grouping: try database.rows(sql) { (parent: $0.text(0)!, id: $0.text(1)!) }, by: \.parent
        ).mapValues { $0.map(\.id) }
    }

    func parent(of id: String) throws(SnapshotTreeError) -> String? {
        try database.rows("SELECT parent FROM snapshots WHERE id = ?", .text(id)) { $0.text(0) }.first ?? nil
    }

    func record(_ id: String) throws(SnapshotTreeError) -> SnapshotTree.Record? {
        let sql = "SELECT id, lost_parent, manifest FROM snapshots WHERE id = ?"
        let found = try database.rows(sql, .text(id)) { (row) throws(SnapshotTreeError) in
            (try manifest(in: row), row.text(1))
        }
        guard let (manifest, lostParent) = found.first else { return nil }
        return SnapshotTree.Record(manifest: manifest, tags: try tags(of: id), lostParent: lostParent)
    }

    /// All records, oldest first.
    func records() throws(SnapshotTreeError) -> [SnapshotTree.Record] {
        let tags = Dictionary(grouping: try allTags(), by: \.snapshot).mapValues { $0.map(\.tag) }
        let sql = "SELECT id, lost_parent, manifest FROM snapshots ORDER BY seq"
        return try database.rows(sql) { (row) throws(SnapshotTreeError) in
            let manifest = try manifest(in: row)
            return SnapshotTree.Record(
                manifest: manifest, tags: tags[manifest.id] ?? [], lostParent: row.text(1))
        }
    }

    private func manifest(in row: Row) throws(SnapshotTreeError) -> Manifest {
        let id = row.text(0)!
        if let known = manifests[id] { return known }
        var manifest = try Manifest.decoded(Array((row.text(2) ?? "").utf8), from: "the catalog's row \(id)")
        // Of some kilobytes, and the same in nearly all.
        if manifest.cpuFeatures == cpuFeatures { manifest.cpuFeatures = cpuFeatures }
        cpuFeatures = manifest.cpuFeatures
        manifests[id] = manifest
        return manifest
    }

    // MARK: - Layers

    /// What a row says of a snapshot's layers.
    struct LayerRow {
        let id: String
        let layers: [String]
        /// The one it brought, and its bytes on disk.
        let own: String?
        let ownBytes: Int64
    }

    /// The layers of every snapshot, oldest first; SQLite looks into the manifests, which is much quicker than to
    /// decode them.
    func layers() throws(SnapshotTreeError) -> [LayerRow] {
        let sql = """
            SELECT id, layers, json_extract(manifest, '$.ownLayer'), json_extract(manifest, '$.layerTotalBytes')
            FROM snapshots ORDER BY seq
            """
        return try database.rows(sql) { row in
            LayerRow(
                id: row.text(0)!, layers: row.text(1)!.split(separator: " ").map(String.init),
                own: row.text(2),
                ownBytes: row.integer(3))
        }
    }

    /// The manifest of the newest snapshot that lists a layer.
    func lister(of layer: String) throws(SnapshotTreeError) -> Manifest? {
        let sql = """
            SELECT id, lost_parent, manifest FROM snapshots WHERE instr(layers, ?) > 0 ORDER BY seq DESC LIMIT 1
            """
        return try database.rows(sql, .text(layer)) { (row) throws(SnapshotTreeError) in
            try manifest(in: row)
        }.first
    }

    // MARK: - Tags

    func owner(of tag: String) throws(SnapshotTreeError) -> String? {
        try database.rows("SELECT snapshot FROM tags WHERE tag = ?", .text(tag)) { $0.text(0)! }.first
    }

    func tags(of id: String) throws(SnapshotTreeError) -> [String] {
        try database.rows("SELECT tag FROM tags WHERE snapshot = ? ORDER BY tag", .text(id)) { $0.text(0)! }
    }

    func allTags() throws(SnapshotTreeError) -> [(tag: String, snapshot: String)] {
        try database.rows("SELECT tag, snapshot FROM tags ORDER BY tag") { ($0.text(0)!, $0.text(1)!) }
    }

    func insertTag(_ tag: String, of id: String) throws(SnapshotTreeError) {
        try database.run("INSERT INTO tags (tag, snapshot) VALUES (?, ?)", .text(tag), .text(id))
        listing.change(id)
    }

    /// Makes the tags of a snapshot these; those that another one carries stay there.
    func setTags(_ tags: [String], of id: String) throws(SnapshotTreeError) {
        try database.run("DELETE FROM tags WHERE snapshot = ?", .text(id))
        for tag in tags where try owner(of: tag) == nil { try insertTag(tag, of: id) }
    }

    func removeTag(_ tag: String) throws(SnapshotTreeError) {
        listing.change(try owner(of: tag))
        try database.run("DELETE FROM tags WHERE tag = ?", .text(tag))
    }
}
