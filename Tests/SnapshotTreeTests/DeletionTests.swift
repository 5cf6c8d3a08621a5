import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SnapshotTree

@Suite struct DeletionTests {
    let store: TemporaryStore
    init() throws { store = try TemporaryStore() }

    @Test func parentStaysWhileChildrenNeedIt() throws {
        let tree = try store.open()
        let root = try tree.publish(layer: "root")
        let child = try tree.publish(parent: root, layer: "child")
        let error = #expect(throws: SnapshotTreeError.self) { try tree.delete(root.id) }
        #expect(error == .neededByChildren(root.id, children: [child.id]))
        #expect(error?.message.hint?.contains("--subtree") == true)
        let result = try tree.delete(child.id)
        #expect(result.deleted == [child.id])
        #expect(result.freedBytes >= child.layerBytes + child.processBytes)
        #expect(try names(in: store.root + "/layers") == root.layers)
        #expect(try names(in: store.root + "/snapshots") == [root.id])
        tree.waitUntilRemoved()
        #expect(try names(in: store.root + "/staging") == [])
        #expect(throws: SnapshotTreeError.unknownReference(child.id)) { try tree.delete(child.id) }
    }

    @Test func subtreeGoesWithItsLayersAndTags() throws {
        let tree = try store.open()
        let root = try tree.publish(layer: "root")
        let left = try tree.publish(parent: root, layer: "left", tag: "left")
        let right = try tree.publish(parent: root, layer: "right")
        let deep = try tree.publish(parent: left, layer: "deep")
        let result = try tree.delete(left.id, subtree: true)
        #expect(result.deleted == [left.id, deep.id])
        #expect(try tree.snapshots().map(\.id) == [root.id, right.id])
        #expect(try names(in: store.root + "/layers") == (root.layers + [right.layers[1]]).sorted())
        try tree.checkTagFree("left")
    }

    @Test func deletionTellsHowFarItIs() throws {
        let tree = try store.open()
        let root = try tree.publish(layer: "root")
        for number in 0..<4 { _ = try tree.publish(parent: root, layer: "\(number)") }
        let work = WatchedWork()
        #expect(try tree.delete(root.id, subtree: true, watch: work.watch).deleted.count == 5)
        #expect(work.told == ["removing: 5 of 5 snapshots", "giving space back: 10 of 10 items"])
    }

    @Test func snapshotThatSandboxesStandOnStays() throws {
        let tree = try store.open()
        let root = try tree.publish()
        let child = try tree.publish(parent: root)
        #expect(throws: SnapshotTreeError.standing(child.id, sandboxes: ["box"])) {
            try tree.delete(root.id, subtree: true, standing: [child.id: ["box"]])
        }
        #expect(try tree.snapshots().count == 2)
    }

    @Test func layerInUseStaysUntilGc() throws {
        let tree = try store.open()
        let snapshot = try tree.publish(layer: "used")
        _ = try tree.delete(snapshot.id, layersInUse: Set(snapshot.layers))
        #expect(try names(in: store.root + "/layers") == snapshot.layers)
        #expect(try tree.gc(layersInUse: Set(snapshot.layers)).removed == [])
        let collected = try tree.gc()
        #expect(collected.removed == ["layers/\(snapshot.layers[0])"])
        #expect(collected.freedBytes >= snapshot.layerBytes)
    }

    @Test func gcLeavesLiveStagingsAndTakesStaleOnes() throws {
        let tree = try store.open()
        let alive = try tree.stage()
        try alive.makeLayer()
        do {
            let forgotten = try tree.stage()
            try writeFile(forgotten.processPath + "/x", "x")
        }
        try writeFile(store.root + "/snapshots/aaaaaaaaaaaa/process/x", "orphan")
        let collected = try tree.gc()
        #expect(collected.removed.count == 2)
        #expect(collected.removed.contains("snapshots/aaaaaaaaaaaa"))
        #expect(try names(in: store.root + "/staging") == [alive.id])
        #expect(try tree.publish(alive, manifest: draft()).layers.count == 1)
    }

    /// Names and depths that a sandbox's process may leave behind.
    @Test func removalCopesWithAnyTree() throws {
        let parent = try Descriptor.directory(store.path)
        let outside = try store.write("outside/file", "stays")
        try store.write("tree/a\nb/file", "x")
        let tree = store.path + "/tree"
        #expect(symlink(store.path + "/outside", tree + "/link") == 0)
        var odd: [CChar] = Array((tree + "/").utf8CString.dropLast()) + [-1, -2, 0]
        #expect(creat(&odd, 0) >= 0)
        #expect(mkdir(tree + "/closed", 0o700) == 0)
        try store.write("tree/closed/file", "x")
        #expect(chmod(tree + "/closed", 0) == 0)
        var deep = try Descriptor.directory(tree)
        for _ in 0..<3000 {
            #expect(mkdirat(deep.raw, "deep", 0o700) == 0)
            deep = try Descriptor.open("deep", below: deep, O_RDONLY | O_DIRECTORY)
        }
        let usage = try DiskUsage.of(try Descriptor.directory(tree))
        #expect(usage.entries == 3006)
        let freed = try TreeRemoval.remove("tree", below: parent)
        #expect(freed == usage.bytes)
        #expect(!exists(tree))
        #expect(try readFile(outside) == "stays")
        #expect(try TreeRemoval.remove("tree", below: parent) == 0)
    }
}
