import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SnapshotTree

/// Which snapshots a policy keeps: a tree of two sandboxes, `main` (a b c d) and `side`, which was forked from b (e f).
@Suite struct RetentionTests {
    private static let nodes: [Retention.Node] = [
        .init(id: "a", parent: nil, sandbox: "main", created: 100, isTagged: false),
        .init(id: "b", parent: "a", sandbox: "main", created: 200, isTagged: false),
        .init(id: "e", parent: "b", sandbox: "side", created: 300, isTagged: true),
        .init(id: "c", parent: "b", sandbox: "main", created: 400, isTagged: false),
        .init(id: "f", parent: "e", sandbox: "side", created: 500, isTagged: false),
        .init(id: "d", parent: "a", sandbox: "main", created: 600, isTagged: false),
    ]

    private func kept(needed: Set<String> = [], _ set: (inout GCRequest) -> Void) -> String {
        var policy = GCRequest()
        set(&policy)
        return Retention(Self.nodes, policy: policy, needed: needed, now: 700).kept.sorted().joined()
    }

    private func order(needed: Set<String> = [], _ set: (inout GCRequest) -> Void) -> String {
        var policy = GCRequest()
        set(&policy)
        return Retention(Self.nodes, policy: policy, needed: needed, now: 700).leaving.joined()
    }

    @Test func rulesKeepWhatTheySay() {
        #expect(kept { $0.keepLast = 1 } == "df")
        #expect(kept { $0.keepLast = 2 } == "cdef")
        #expect(kept { $0.keepTagged = true } == "e")
        #expect(kept { $0.keepWithin = 250 } == "df")
        #expect(kept { $0.keepWithin = 300 } == "cdf")
        #expect(kept { $0.maxBytes = ByteSize(bytes: 1) } == "")
    }

    @Test func rulesAddUpAndWhatIsNeededStays() {
        #expect(
            kept(needed: ["c"]) {
                $0.keepTagged = true
                $0.keepLast = 1
            } == "cdef")
        #expect(kept(needed: ["a", "gone"]) { $0.maxBytes = ByteSize(bytes: 1) } == "a")
    }

    @Test func pathsLeadToTheRoot() {
        #expect(
            kept {
                $0.keepTagged = true
                $0.keepPaths = true
            } == "abe")
        #expect(
            kept(needed: ["c"]) {
                $0.maxBytes = ByteSize(bytes: 1)
                $0.keepPaths = true
            } == "abc")
    }

    @Test func whatIsWorthLeastGoesFirst() {
        // Leaves c, f, d by age; then nothing untagged is a leaf, for e hangs on b: b, a; the tagged one at last.
        #expect(order { $0.maxBytes = ByteSize(bytes: 1) } == "cfdabe")
        #expect(order(needed: ["d"]) { $0.keepTagged = true } == "cfab")
        #expect(order { $0.keepLast = 1 } == "cabe")
    }

    /// What hung on a snapshot that has gone hangs on its parent, which is no leaf before that is gone too.
    @Test func childrenMoveUp() {
        let nodes = ["a", "b", "c"].enumerated().map { index, id in
            Retention.Node(
                id: id, parent: index == 0 ? nil : ["a", "b"][index - 1], sandbox: id, created: Double(index),
                isTagged: id == "c")
        }
        var policy = GCRequest()
        policy.maxBytes = ByteSize(bytes: 1)
        #expect(Retention(nodes, policy: policy, needed: [], now: 9).leaving == ["a", "b", "c"])
        policy.keepTagged = true
        #expect(Retention(nodes, policy: policy, needed: ["a"], now: 9).leaving == ["b"])
    }
}

/// The collection of a real store: what it announces is what goes, byte for byte.
@Suite struct CollectionTests {
    let store: TemporaryStore
    init() throws { store = try TemporaryStore() }

    /// Bytes on disk below the store but for its index, as du(1) counts.
    private func used() throws -> Int64 {
        try ["layers", "snapshots", "digests", "staging"].reduce(0) { sum, name in
            try sum + DiskUsage.of(Descriptor.directory("\(store.root)/\(name)")).bytes
        }
    }

    /// Does what the engine does: counts first, then takes one after the other.
    private func collect(_ tree: SnapshotTree, _ policy: GCRequest, needed: Set<String> = []) throws -> (
        plan: GCResult, freed: Int64, removed: [String]
    ) {
        let plan = try tree.collection(under: policy, needed: needed, layersInUse: [], now: 1_700_000_000)
        var freed: Int64 = 0
        for snapshot in plan.deleted { freed += try #require(try tree.retire(snapshot, standing: [:])) }
        let garbage = try tree.gc()
        return (plan, freed + garbage.freedBytes, garbage.removed)
    }

    @Test func whatIsAnnouncedGoesByteForByte() throws {
        let tree = try store.open()
        let root = try tree.publish(layer: "root", tag: "root")
        let middle = try tree.publish(parent: root, layer: "middle")
        let leaf = try tree.publish(parent: middle, layer: "leaf")
        let other = try tree.publish(parent: middle)
        // Memory that a child inherits is the same file.
        #expect(
            link("\(tree.processPath(middle.id))/core-1.img", "\(tree.processPath(leaf.id))/inherited") == 0)
        try writeFile(store.root + "/layers/aaaaaaaaaaaa/stray", "stray")
        try writeFile(store.root + "/digests/bbbbbbbbbbbb", "stray")
        try writeFile(store.root + "/staging/cccccccccccc/process/x", "stale")
        var policy = GCRequest()
        policy.keepTagged = true
        let before = try used()
        let (plan, freed, removed) = try collect(tree, policy, needed: [leaf.id])
        #expect(plan.deleted.map(\.id) == [other.id, middle.id])
        #expect(plan.removed == removed && removed.count == 3)
        #expect(plan.kept == 2)
        #expect(freed == plan.freedBytes)
        #expect(try before - used() == freed)
        #expect(try used() >= plan.storedBytes!)
        #expect(try tree.record(leaf.id)?.parent == root.id)
        #expect(try names(in: store.root + "/layers") == leaf.layers.sorted())
    }

    @Test func limitTakesNoMoreThanItMust() throws {
        let tree = try store.open()
        var last: SnapshotInfo?
        for number in 0..<6 { last = try tree.publish(parent: last, layer: "\(number)") }
        var policy = GCRequest()
        policy.maxBytes = ByteSize(bytes: 1)
        let all = try tree.collection(under: policy, needed: [], layersInUse: [], now: 0)
        #expect(all.deleted.count == 6 && all.storedBytes == 0 && all.kept == 0)
        policy.maxBytes = ByteSize(bytes: all.freedBytes)
        #expect(try tree.collection(under: policy, needed: [], layersInUse: [], now: 0).deleted.isEmpty)
        policy.maxBytes = ByteSize(bytes: all.freedBytes - 1)
        let one = try collect(tree, policy)
        #expect(one.plan.deleted.map(\.id) == [last!.id])
        #expect(one.plan.storedBytes == all.freedBytes - one.freed)
    }

    @Test func collectionTellsHowFarItIs() throws {
        let tree = try store.open()
        for number in 0..<3 { _ = try tree.publish(layer: "\(number)") }
        try writeFile(store.root + "/layers/aaaaaaaaaaaa/stray", "stray")
        try writeFile(store.root + "/staging/cccccccccccc/process/x", "stale")
        var policy = GCRequest()
        policy.keepTagged = true
        let counting = WatchedWork()
        _ = try tree.collection(under: policy, needed: [], layersInUse: [], now: 0, watch: counting.watch)
        #expect(counting.told == ["counting: 8 of 8 items"], "3 snapshots, 4 layers, a staging")
        let removing = WatchedWork()
        _ = try tree.gc(watch: removing.watch)
        #expect(removing.told == ["giving space back: 1 of 1 items"])
    }

    @Test func whatComesIntoUseMeanwhileStays() throws {
        let tree = try store.open()
        let snapshot = try tree.publish(layer: "x")
        var policy = GCRequest()
        policy.keepTagged = true
        let retired = try #require(
            try tree.collection(under: policy, needed: [], layersInUse: [], now: 0).deleted.first)
        #expect(try tree.retire(retired, standing: [snapshot.id: ["box"]]) == nil)
        try tree.tag(snapshot.id, as: "kept")
        #expect(try tree.retire(retired, standing: [:]) == nil)
        try tree.untag("kept")
        #expect(try tree.retire(retired, standing: [:]) != nil)
        #expect(try tree.retire(retired, standing: [:]) == nil)
    }
}
