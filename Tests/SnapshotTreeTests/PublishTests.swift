import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SnapshotTree

@Suite struct PublishTests {
    let store: TemporaryStore
    init() throws { store = try TemporaryStore() }

    @Test func publishedSnapshotIsWhole() throws {
        let tree = try store.open(.snapshot)
        let first = try tree.publish(layer: "one", tag: "base")
        #expect(first.id.utf8.count == 12)
        #expect(first.tags == ["base"])
        #expect(first.layers.count == 1)
        #expect(first.layerBytes > 0 && first.processBytes > 0)
        #expect(try readFile(tree.layerPath(first.layers[0]) + "/file") == "one")
        #expect(try readFile(tree.processPath(first.id) + "/core-1.img") == "image")
        #expect(try names(in: store.root + "/staging") == [])

        let second = try tree.publish(parent: first, layer: "two")
        #expect(second.layers == first.layers + [second.layers[1]])
        let record = try #require(try tree.record(second.id))
        #expect(record.parent == first.id)
        #expect(record.manifest.engine == #"{"x":1}"#)
        #expect(try tree.info(for: try #require(try tree.record(first.id))).children == [second.id])
        #expect(try tree.rollout(to: second.id).map(\.id) == [first.id, second.id])
    }

    @Test func snapshotWithoutLayerAddsNone() throws {
        let tree = try store.open()
        let snapshot = try tree.publish()
        #expect(snapshot.layers == [])
        #expect(snapshot.layerBytes == 0)
        #expect(try tree.record(snapshot.id)?.manifest.ownLayer == nil)
    }

    @Test func abandonedStagingLeavesNothing() throws {
        let tree = try store.open()
        let staging = try tree.stage()
        try writeFile(staging.processPath + "/x", "x")
        tree.abandon(staging)
        #expect(try names(in: store.root + "/staging") == [])
        #expect(try tree.snapshots().isEmpty)
    }

    @Test func takenTagIsRefusedAndNothingIsLeft() throws {
        let tree = try store.open()
        let first = try tree.publish(tag: "t")
        #expect(throws: SnapshotTreeError.tagTaken("t", by: first.id)) { try tree.checkTagFree("t") }
        #expect(throws: SnapshotTreeError.tagTaken("t", by: first.id)) {
            try tree.publish(layer: "x", tag: "t")
        }
        #expect(try names(in: store.root + "/staging") == [])
        #expect(try names(in: store.root + "/layers") == [])
        #expect(try tree.snapshots().count == 1)
    }

    @Test func missingParentAndMissingLayerAreRefused() throws {
        let tree = try store.open()
        let first = try tree.publish()
        _ = try tree.delete(first.id)
        #expect(throws: SnapshotTreeError.self) { try tree.publish(parent: first) }
        var manifest = draft()
        manifest.layers = ["0123456789ab"]
        #expect(throws: SnapshotTreeError.badManifest("layer 0123456789ab is not in the store")) {
            try tree.publish(try tree.stage(), manifest: manifest)
        }
        #expect(try names(in: store.root + "/snapshots") == [])
    }

    @Test(arguments: PublishStep.allCases)
    func failureAtAnyStepLeavesNothing(at failing: PublishStep) throws {
        let error = SnapshotTreeError(SystemError(call: "write", code: ENOSPC))
        let tree = try store.open { (step) throws(SnapshotTreeError) in if step == failing { throw error } }
        #expect(throws: error) { try tree.publish(layer: "x", tag: "t") }
        #expect(error.message.code == .noSpace)
        for directory in ["staging", "layers", "snapshots"] {
            #expect(try names(in: "\(store.root)/\(directory)") == [])
        }
        #expect(try tree.snapshots().isEmpty)
        try tree.checkTagFree("t")
    }

    @Test(arguments: PublishStep.allCases)
    func failedPublicationCanKeepTheLayer(at failing: PublishStep) throws {
        let error = SnapshotTreeError(SystemError(call: "fsync", code: EIO))
        let tree = try store.open { (step) throws(SnapshotTreeError) in if step == failing { throw error } }
        let staging = try tree.stage()
        try staging.makeLayer()
        try writeFile(staging.layerPath + "/file", "kept")
        #expect(throws: error) {
            try tree.publish(staging, manifest: draft(), keepingOnFailure: true)
        }
        #expect(try readFile(staging.layerPath + "/file") == "kept")
        #expect(try tree.snapshots().isEmpty)
    }

    /// The store is copied at a step, as a crash would leave it, and the copy is opened.
    @Test(arguments: PublishStep.allCases)
    func crashAtAnyStepLeavesNothingOrAll(at crashing: PublishStep) throws {
        let (root, copy) = (store.root, store.path + "/crashed")
        let before: SnapshotInfo
        do {
            let tree = try store.open { (step) throws(SnapshotTreeError) in
                if step == crashing, exists(root + "/armed") { run("/bin/cp", "-a", root, copy) }
            }
            before = try tree.publish(layer: "before", tag: "old")
            try writeFile(root + "/armed", "")
            try tree.publish(parent: before, layer: "new", tag: "new")
        }
        let tree = try SnapshotTree(root: copy, durability: .none)
        let visible = crashing == .snapshotMoved || crashing == .rowInserted
        #expect(try tree.snapshots().count == (visible ? 2 : 1))
        #expect(try tree.resolve(reference: "old").id == before.id)
        #expect(try names(in: copy + "/staging") == [])
        #expect(tree.recovery.damaged.isEmpty)
        if visible {
            #expect(try tree.resolve(reference: "new~1").id == before.id)
            let record = try tree.resolve(reference: "new")
            #expect(try readFile(tree.layerPath(record.layers[1]) + "/file") == "new")
        }
        let collected = try tree.gc()
        #expect(collected.removed.count == (crashing == .layerMoved ? 1 : 0))
        #expect(try names(in: copy + "/layers").count == (visible ? 2 : 1))
    }
}

/// Runs a program to its end; a failure fails the test.
func run(_ arguments: String...) {
    var pid = pid_t()
    var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { for argument in argv { free(argument) } }
    let status = posix_spawn(&pid, arguments[0], nil, nil, &argv, environ)
    #expect(status == 0, "\(arguments)")
    var wait: Int32 = 0
    waitpid(pid, &wait, 0)
    #expect(wait == 0, "\(arguments)")
}
