import Digests
import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SnapshotTree

@Suite struct RecoveryTests {
    let store: TemporaryStore
    init() throws { store = try TemporaryStore() }

    private func makeTree() throws -> [SnapshotTree.Record] {
        let tree = try store.open()
        let root = try tree.publish(layer: "root", tag: "first", created: 1)
        let child = try tree.publish(parent: root, layer: "child", created: 2)
        try tree.publish(parent: root, created: 3)
        try tree.tag(child.id, as: "second")
        try tree.tag(child.id, as: "third")
        try tree.untag("third")
        return try tree.snapshots()
    }

    @Test func cleanStoreNeedsNoRecovery() throws {
        let before = try makeTree()
        let tree = try store.open()
        #expect(tree.recovery.isClean)
        #expect(try tree.snapshots() == before)
    }

    @Test func missingCatalogIsRebuiltFromManifests() throws {
        let before = try makeTree()
        for suffix in ["", "-wal", "-shm"] { unlink("\(store.root)/catalog.sqlite\(suffix)") }
        let tree = try store.open()
        #expect(tree.recovery.added == before.map(\.id))
        #expect(try tree.snapshots() == before)
    }

    @Test(arguments: [0, 4096, 8192, 12288])
    func corruptCatalogIsSetAsideAndRebuilt(from offset: Int) throws {
        let before = try makeTree()
        let catalog = "\(store.root)/catalog.sqlite"
        do {
            let file = try Descriptor.open(catalog, O_WRONLY)
            lseek(file.raw, offset, SEEK_SET)
            try file.writeAll([UInt8](repeating: 0xa5, count: 4096))
        }
        // Damage in a page that opening does not read is met later, and noted for the next start.
        try writeFile("\(store.root)/catalog.suspect", "")
        let tree = try store.open()
        #expect(tree.recovery.damagedCatalog == "\(catalog).damaged-1")
        #expect(exists("\(catalog).damaged-1"))
        #expect(try tree.snapshots() == before)
        #expect(!exists("\(store.root)/catalog.suspect"))
    }

    /// SQLite has no checksums: a byte of a row is as good as any other to it.
    @Test func everyFlippedByteOfAClosedCatalogIsFound() throws {
        let before: [SnapshotTree.Record]
        do {
            _ = try makeTree()
            let tree = try store.open()
            before = try tree.snapshots()
            tree.close()
        }
        let path = "\(store.root)/catalog.sqlite"
        let bytes = try Files.read(path)
        for number in 0..<16 {
            var damaged = bytes
            damaged[number * (bytes.count - 1) / 15] ^= 1
            try Files.write(path, damaged)
            do {
                let tree = try store.open()
                #expect(tree.recovery.damagedCatalog == "\(path).damaged-\(number + 1)")
                #expect(try tree.snapshots() == before)
                tree.close()
            }
            try Files.write(path, bytes)
            // What is written down of the catalog is of the one that was rebuilt: the old one is another.
            try writeFile("\(store.root)/session", "closed\n\(Digest(of: bytes))\n")
        }
        #expect(try store.open().recovery.isClean)
    }

    @Test func vanishedSnapshotLosesItsRowAndItsChildrenAreTold() throws {
        let before = try makeTree()
        let root = before[0].id
        _ = try TreeRemoval.remove(root, below: try Descriptor.directory(store.root + "/snapshots"))
        for _ in 0..<2 {
            let tree = try store.open()
            let records = try tree.snapshots()
            #expect(records.map(\.id) == before.dropFirst().map(\.id))
            #expect(records.allSatisfy { $0.parent == nil && $0.lostParent == root })
            #expect(throws: SnapshotTreeError.noAncestor(reference: "second~", available: 0)) {
                try tree.resolve(reference: "second~")
            }
            // The second time the catalog is rebuilt and has to come to the same.
            for suffix in ["", "-wal", "-shm"] { unlink("\(store.root)/catalog.sqlite\(suffix)") }
        }
    }

    /// The wall clock may be set back between two saves: parents come before their children all the same.
    @Test func clockThatWentBackTurnsNothingAround() throws {
        var made: [SnapshotInfo] = []
        do {
            let tree = try store.open()
            for number in 0..<6 {
                made.append(
                    try tree.publish(parent: made.last, layer: "\(number)", created: Double(9 - number)))
            }
            #expect(try tree.snapshots().map(\.id) == made.map(\.id))
        }
        for suffix in ["", "-wal", "-shm"] { unlink("\(store.root)/catalog.sqlite\(suffix)") }
        let tree = try store.open()
        #expect(try tree.snapshots().map(\.id) == made.map(\.id))
        #expect(try tree.resolve(reference: "\(made[5].id)~5").id == made[0].id)
    }

    @Test func unreadableManifestIsReportedAndCollected() throws {
        let before = try makeTree()
        try writeFile("\(store.root)/snapshots/\(before[2].id)/manifest.json", "{")
        for suffix in ["", "-wal", "-shm"] { unlink("\(store.root)/catalog.sqlite\(suffix)") }
        let tree = try store.open()
        #expect(tree.recovery.damaged[before[2].id] == "manifest.json: it is no manifest")
        #expect(try tree.snapshots().count == 2)
        let verification = Verification(tree)
        verification.checkCatalog()
        let damage = try verification.report().damage
        #expect(damage.map(\.path) == ["snapshots/\(before[2].id)/manifest.json"])
        #expect(damage.map(\.snapshots) == [[before[2].id]])
        #expect(try tree.gc().removed == ["snapshots/\(before[2].id)"])
    }

    @Test func missingLayerIsReported() throws {
        let before = try makeTree()
        _ = try TreeRemoval.remove(
            before[0].layers[0], below: try Descriptor.directory(store.root + "/layers"))
        #expect(Set(try store.open().recovery.damaged.keys) == Set(before.map(\.id)))
    }

    @Test func otherVersionsAreRefusedInPlainWords() throws {
        _ = try makeTree()
        try writeFile("\(store.root)/format", "3\n")
        let error = #expect(throws: SnapshotTreeError.self) { try store.open() }
        #expect(error?.message.code == .versionMismatch)
        #expect(error?.message.message.contains("has format 3, this ckpt reads format 2") == true)
        try writeFile("\(store.root)/format", "2\n")
        do {
            let database = try Database(path: "\(store.root)/catalog.sqlite")
            try database.execute("PRAGMA user_version=7")
        }
        #expect(throws: SnapshotTreeError.self) { try store.open() }
    }

    @Test func secondOpenerIsRefused() throws {
        let tree = try store.open()
        #expect(throws: SnapshotTreeError.storeInUse(root: store.root)) { try store.open() }
        withExtendedLifetime(tree) {}
    }

    @Test func endLeavesTrashToTheNextStart() throws {
        do {
            let tree = try store.open()
            let snapshot = try tree.publish(layer: "own")
            tree.endRemovals(patience: 0)
            _ = try tree.delete(snapshot.id)
            try writeFile("\(store.root)/sandbox/upper/file", "written")
            try tree.discard("\(store.root)/sandbox")
            tree.close()
        }
        let left = try names(in: store.root + "/staging")
        #expect(left.count == 3 && left.allSatisfy { $0.hasPrefix("trash-") }, "\(left)")
        let tree = try store.open()
        #expect(tree.recovery.isClean && tree.recovery.lastEndedInOrder)
        let gathered = try tree.gc()
        #expect(gathered.removed == [], "what is being removed is nobody's to collect: \(gathered.removed)")
        tree.waitUntilRemoved()
        #expect(try names(in: store.root + "/staging") == [])
    }

    @Test func endStopsARemovalThatIsUnderWay() throws {
        for number in 0..<200 { try writeFile("\(store.root)/trash/\(number)/file", "x") }
        let root = try Descriptor.directory(store.root)
        var asked = 0
        let error = #expect(throws: SystemError.self) {
            try TreeRemoval.remove("trash", below: root) {
                asked += 1
                return asked > 100
            }
        }
        #expect(error?.code == ECANCELED)
        let left = try names(in: store.root + "/trash").count
        #expect(left > 100 && left < 200)
        _ = try TreeRemoval.remove("trash", below: root)
        #expect(faccessat(root.raw, "trash", F_OK, 0) != 0)
    }

    @Test func stagingIsSwept() throws {
        _ = try store.open()
        try writeFile("\(store.root)/staging/bbbbbbbbbbbb/process/pages-1.img", "half")
        let tree = try store.open()
        #expect(tree.recovery.swept == ["bbbbbbbbbbbb"])
        #expect(tree.recovery.sweptBytes > 0)
        #expect(try names(in: store.root + "/staging") == [])
    }
}
