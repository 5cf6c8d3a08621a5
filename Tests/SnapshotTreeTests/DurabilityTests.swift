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
        let snapshot = try store.open().publish(layer: "layer", tag: "kept")
        try unmark(snapshot, boot: String(decoding: try Flusher.bootID(), as: UTF8.self))
        let tree = try store.open(.deferred)
        #expect(tree.recovery.isClean)
        #expect(try tree.resolve(reference: "kept").id == snapshot.id)
        tree.waitUntilDurable()
        #expect(try marks(snapshot) == ["durable"])
    }

    @Test func powerCutDropsWhatWasNotFlushedWhole() throws {
        var snapshots: [SnapshotInfo] = []
        do {
            let tree = try store.open()
            snapshots.append(try tree.publish(layer: "first"))
            snapshots.append(try tree.publish(parent: snapshots[0], layer: "second", tag: "new"))
        }
        try unmark(snapshots[1], boot: "another run of the machine\n")
        let tree = try store.open(.deferred)
        #expect(tree.recovery.dropped == [snapshots[1].id])
        #expect(try tree.snapshots().map(\.id) == [snapshots[0].id])
        #expect(try names(in: store.root + "/staging") == [])
        try tree.checkTagFree("new")
        #expect(try tree.gc().removed == ["layers/\(snapshots[1].layers[1])"])
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
