import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SnapshotTree

/// What a power cut leaves is staged here: a snapshot marked as not flushed, by another run of the machine.
@Suite struct DurabilityTests {
    let store: TemporaryStore
    init() throws { store = try TemporaryStore() }

    private func marks(_ snapshot: SnapshotInfo) throws -> [String] {
        try names(in: "\(store.root)/snapshots/\(snapshot.id)").filter { ["boot", "durable"].contains($0) }
    }

    private func unmark(_ snapshot: SnapshotInfo, boot: String) throws {
        let directory = "\(store.root)/snapshots/\(snapshot.id)"
        #expect(unlink(directory + "/durable") == 0)
        try writeFile(directory + "/boot", boot)
    }

    @Test(arguments: [1, 20])
    func deferredSnapshotsAreFlushedLater(_ count: Int) throws {
        let tree = try store.open(.deferred)
        var snapshots: [SnapshotInfo] = []
        for _ in 0..<count { snapshots.append(try tree.publish(parent: snapshots.last, layer: "layer")) }
        tree.waitUntilDurable()
        for snapshot in snapshots { #expect(try marks(snapshot) == ["durable"]) }
    }

    @Test func crashOfTheServerLosesNothing() throws {
        let snapshot = try store.open(.snapshot).publish(layer: "layer", tag: "kept")
        try unmark(snapshot, boot: String(decoding: try Flusher.bootID(), as: UTF8.self))
        let tree = try store.open(.deferred)
        #expect(tree.recovery.isClean)
        #expect(try tree.resolve(reference: "kept").id == snapshot.id)
        tree.waitUntilDurable()
        #expect(try marks(snapshot) == ["durable"])
    }

    /// Two snapshots, the second as the machine left it that went down before it was flushed.
    private func cut() throws -> [SnapshotInfo] {
        var snapshots: [SnapshotInfo] = []
        do {
            let tree = try store.open(.snapshot)
            snapshots.append(try tree.publish(layer: "first"))
            snapshots.append(try tree.publish(parent: snapshots[0], layer: "second", tag: "new"))
        }
        try unmark(snapshots[1], boot: Self.otherBoot)
        return snapshots
    }
    private static let otherBoot = "another run of the machine\n"

    @Test func powerCutKeepsWhatHadReachedTheDisk() throws {
        let snapshots = try cut()
        let tree = try store.open(.deferred)
        #expect(tree.recovery.kept == [snapshots[1].id] && tree.recovery.dropped == [])
        #expect(try tree.resolve(reference: "new").id == snapshots[1].id)
        #expect(try marks(snapshots[1]) == ["durable"])
    }

    @Test(arguments: [
        "snapshots/%/process/core-1.img", "snapshots/%/manifest.json", "layers/%/file", "digests/%",
    ])
    func powerCutDropsWhatIsNotWhole(_ path: String) throws {
        let snapshots = try cut()
        let owner = path.hasPrefix("snapshots") ? snapshots[1].id : snapshots[1].layers[1]
        let parts = path.split(separator: "%", omittingEmptySubsequences: false)
        // What a file is like whose name was written out and whose data was not.
        try #require(truncate("\(store.root)/\(parts[0])\(owner)\(parts[1])", 0) == 0)
        let tree = try store.open(.deferred)
        #expect(tree.recovery.dropped == [snapshots[1].id] && tree.recovery.kept == [])
        #expect(try tree.snapshots().map(\.id) == [snapshots[0].id])
        #expect(try names(in: store.root + "/staging") == [])
        try tree.checkTagFree("new")
        #expect(try tree.gc().removed == ["layers/\(snapshots[1].layers[1])"])
    }

    @Test func catalogThatWasNeverFlushedIsMadeAnew() throws {
        let snapshot = try store.open(.none).publish(layer: "layer", tag: "kept")
        try writeFile("\(store.root)/snapshots/\(snapshot.id)/boot", Self.otherBoot)
        try writeFile("\(store.root)/session", Self.otherBoot + "none\n")
        // Pages that never reached the disk.
        try writeFile("\(store.root)/catalog.sqlite", String(repeating: "\0", count: 40_960))
        let tree = try store.open(.none)
        #expect(tree.recovery.damagedCatalog == nil && tree.recovery.added == [snapshot.id])
        #expect(try tree.resolve(reference: "kept").id == snapshot.id)
    }

    @Test func tagsAreThoseWrittenDownAfterACrash() throws {
        let snapshots = try cut()
        let tags = "\(store.root)/snapshots/\(snapshots[0].id)/tags"
        try writeFile(tags, "new\nother\n")
        try writeFile("\(store.root)/snapshots/\(snapshots[1].id)/tags", "third\n")
        do {
            let tree = try store.open(.snapshot)
            #expect(Set(tree.recovery.retagged) == Set(snapshots.map(\.id)))
            #expect(try tree.snapshots().map(\.tags) == [["new", "other"], ["third"]])
            tree.close()
        }
        // Half a file, and a tag that two have: the next start leaves one of each.
        try writeFile(tags, "\0\0\0\0new\n")
        try writeFile("\(store.root)/snapshots/\(snapshots[1].id)/tags", "third\nthird\n\0")
        try writeFile("\(store.root)/session", Self.otherBoot + "none\n")
        do {
            let tree = try store.open(.snapshot)
            #expect(try tree.snapshots().map(\.tags) == [[], ["third"]])
            #expect(try readFile(tags) == "")
            #expect(try readFile("\(store.root)/snapshots/\(snapshots[1].id)/tags") == "third\n")
            tree.close()
        }
        // A store that was closed is not looked through.
        try writeFile(tags, "new\n")
        #expect(try store.open(.snapshot).recovery.isClean)
    }

    @Test(arguments: [Durability.none, .deferred, .snapshot, .always])
    func aClosedStoreIsDurableAtEveryLevel(_ level: Durability) throws {
        let tree = try store.open(level)
        let first = try tree.publish(layer: "one", tag: "t")
        #expect(try marks(first).contains("durable") == (level >= .snapshot))
        try tree.tag(first.id, as: "other")
        _ = try tree.delete(try tree.publish(parent: first, layer: "gone").id)
        let second = try tree.publish(parent: first, layer: "two")
        tree.close()
        for snapshot in [first, second] { #expect(try marks(snapshot) == ["durable"]) }
        #expect(try readFile("\(store.root)/session").hasPrefix("closed\n"))
    }

    @Test func oneSnapshotMayPromiseMoreThanItsStore() throws {
        let tree = try store.open(.none)
        let parent = try tree.publish(layer: "parent")
        let staging = try tree.stage()
        let child = try tree.publish(staging, manifest: draft(parent: parent), durability: .snapshot)
        #expect(try marks(parent) == ["boot"] && marks(child) == ["durable"])
    }

    @Test func snapshotDeletedBeforeItsFlushIsNoError() throws {
        let reports = Monitor<[String]>([])
        let tree = try SnapshotTree(root: store.root, durability: .deferred) { text in
            reports.with { $0.append(text) }
        }
        for _ in 0..<30 { _ = try tree.delete(try tree.publish(layer: "gone").id) }
        tree.waitUntilDurable()
        #expect(reports.with { $0 } == [])
    }
}
