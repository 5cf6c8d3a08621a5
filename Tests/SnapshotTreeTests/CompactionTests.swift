import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SnapshotTree

@Suite struct CompactionTests {
    let store: TemporaryStore
    init() throws { store = try TemporaryStore() }

    /// Saves and restores in turn: each snapshot stands on what the one before would be mounted as.
    @discardableResult
    private func grow(
        _ tree: SnapshotTree, _ count: Int, from parent: SnapshotInfo? = nil
    ) throws -> [SnapshotInfo] {
        var made: [SnapshotInfo] = []
        var parent = parent
        for number in 0..<count {
            let staging = try tree.stage()
            try writeFile("\(staging.layerPath)/root/file-\(number)", "\(number)")
            try writeFile("\(staging.layerPath)/root/same", "\(number)")
            var manifest = draft(parent: parent)
            manifest.layers =
                try parent.map { try tree.layersToMount(of: #require(try tree.record($0.id))) } ?? []
            let info = try tree.publish(staging, manifest: manifest)
            made.append(info)
            parent = info
            tree.waitUntilCompacted()
        }
        return made
    }

    private func layers(_ tree: SnapshotTree, _ info: SnapshotInfo) throws -> [String] {
        try tree.layersToMount(of: #require(try tree.record(info.id)))
    }

    private func isClean(_ tree: SnapshotTree) throws -> [Damage] {
        let verification = Verification(tree)
        for record in try tree.snapshots() { try verification.check(record) }
        verification.checkCatalog()
        return try verification.report().damage
    }

    @Test func chainStaysShortAndWhole() throws {
        let tree = try store.open()
        let made = try grow(tree, 75)
        for info in made { #expect(try layers(tree, info).count <= 7 * 3 + 1) }
        #expect(try layers(tree, made[74]).count <= 1 + 1 + 3)
        let top = try layers(tree, made[74])
        // Every file of the chain is there once, and the topmost of those with one name.
        let files = try top.flatMap { try names(in: tree.layerPath($0) + "/root") }.filter { $0 != "same" }
        #expect(files.count == 75 && Set(files).count == 75)
        for (index, info) in made.enumerated() {
            let topmost = try layers(tree, info).last { exists(tree.layerPath($0) + "/root/same") }
            #expect(try readFile(tree.layerPath(topmost!) + "/root/same") == "\(index)")
        }
        #expect(try isClean(tree) == [])
        #expect(try tree.gc().removed == [])
        #expect(try names(in: store.root + "/staging") == [])
    }

    @Test func snapshotsWithACommonPastShareWhatIsMerged() throws {
        let tree = try store.open()
        let trunk = try grow(tree, 10)
        let one = try grow(tree, 3, from: trunk[9])
        let two = try grow(tree, 3, from: trunk[9])
        let (a, b) = (try layers(tree, one[2]), try layers(tree, two[2]))
        #expect(a[0] == b[0] && a[0] != trunk[0].layers[0])
        #expect(try names(in: store.root + "/merges") == [a[0]])
        // A comparison of the two need not look at what they have in common.
        let (all, others) = (
            try tree.unmergedLayers(of: #require(try tree.record(one[2].id))),
            try tree.unmergedLayers(of: #require(try tree.record(two[2].id)))
        )
        #expect(all.prefix(10) == others.prefix(10) && all.count == 13)
    }

    @Test func deletionFreesWhatNothingNeeds() throws {
        let tree = try store.open()
        let made = try grow(tree, 70)
        // The parts go with the snapshots that list them; what was merged of them stays for those above.
        for info in made[..<20] { _ = try tree.delete(info.id, keepingChildren: true) }
        for info in made[..<8] { #expect(!exists(tree.layerPath(info.layers.last!))) }
        #expect(try isClean(tree) == [])
        let top = try layers(tree, made[69])
        let files = try top.flatMap { try names(in: tree.layerPath($0) + "/root") }.filter { $0 != "same" }
        #expect(Set(files).count == 70)
        _ = try tree.delete(made[40].id, subtree: true)
        #expect(try tree.gc().removed == [])
        _ = try tree.delete(made[20].id, subtree: true)
        #expect(try tree.gc().removed == [])
        tree.waitUntilRemoved()
        for directory in ["layers", "digests", "merges", "snapshots", "staging"] {
            #expect(try names(in: "\(store.root)/\(directory)") == [], "\(directory)")
        }
    }

    @Test func layersOfARunningSandboxStay() throws {
        let tree = try store.open()
        let made = try grow(tree, 12)
        let mounted = Set(try layers(tree, made[11]))
        _ = try tree.delete(made[0].id, subtree: true, layersInUse: mounted)
        #expect(Set(try names(in: store.root + "/layers")) == mounted)
        _ = try tree.gc(layersInUse: mounted)
        #expect(Set(try names(in: store.root + "/layers")) == mounted)
        _ = try tree.gc()
        #expect(try names(in: store.root + "/layers") == [])
        #expect(try names(in: store.root + "/merges") == [])
    }

    @Test func nextStartKnowsWhatWasMerged() throws {
        var made: [SnapshotInfo] = []
        var before: [[String]] = []
        do {
            let tree = try store.open()
            made = try grow(tree, 30)
            before = try made.map { try layers(tree, $0) }
        }
        let tree = try store.open()
        #expect(tree.recovery.isClean)
        #expect(try made.map { try layers(tree, $0) } == before)
        #expect(try isClean(tree) == [])
    }

    @Test(arguments: CompactionStep.allCases) func failureLeavesTheTreeAsItWas(step: CompactionStep) throws {
        let problems = Monitor<[String]>([])
        let isFailing = Monitor(true)
        let tree = try SnapshotTree(
            root: store.root, durability: .deferred, report: { line in problems.with { $0.append(line) } },
            step: { (_) throws(SnapshotTreeError) in },
            compactionStep: { (at) throws(SnapshotTreeError) in
                if at == step, isFailing.with({ $0 }) {
                    throw SnapshotTreeError(SystemError(call: "test", code: ENOSPC))
                }
            })
        let made = try grow(tree, 9)
        #expect(problems.with { $0 }.count == 1, "\(problems.with { $0 })")
        #expect(made[8].layers.count == 9)
        #expect(try layers(tree, made[8]) == made[8].layers)
        #expect(try names(in: store.root + "/merges") == [])
        #expect(try names(in: store.root + "/staging") == [])
        #expect(try tree.gc().removed == [])
        #expect(try isClean(tree) == [])
        // The chain goes on growing, and what comes later is merged all the same.
        isFailing.with { $0 = false }
        let more = try grow(tree, 12, from: made[8])
        #expect(try layers(tree, more[11]).count == 2 + 5)
        #expect(try isClean(tree) == [])
    }

    /// A server that is killed between two steps leaves what the step found: its store is copied at that moment.
    @Test(arguments: CompactionStep.allCases) func crashLeavesTheTreeAsItWas(step: CompactionStep) throws {
        let root = store.root
        let copy = store.path + "/crashed"
        do {
            let tree = try SnapshotTree(
                root: root, durability: .deferred, step: { (_) throws(SnapshotTreeError) in },
                compactionStep: { (at) throws(SnapshotTreeError) in
                    guard at == step, !exists(copy) else { return }
                    do { try python(Self.copyStore, root, copy) } catch {
                        throw SnapshotTreeError(SystemError(call: "test", code: EIO))
                    }
                })
            try grow(tree, 10)
            tree.waitUntilDurable()
        }
        let tree = try SnapshotTree(root: copy, durability: .deferred)
        #expect(try tree.snapshots().count >= 9)
        #expect(try isClean(tree) == [])
        let isThere = step == .mergeMoved
        #expect(try names(in: copy + "/merges").count == (isThere ? 1 : 0))
        _ = try tree.gc()
        #expect(Set(try names(in: copy + "/digests")) == Set(try names(in: copy + "/layers")))
        #expect(try names(in: copy + "/layers").count == (try tree.snapshots().count) + (isThere ? 1 : 0))
        #expect(try names(in: copy + "/staging") == [])
        #expect(try isClean(tree) == [])
    }

    /// What may happen while layers are being merged, outside the lock of the catalog.
    enum Meanwhile: CaseIterable {
        case partsAreDeleted, allIsDeleted, collection, restore, verification
    }

    @Test(arguments: CompactionStep.allCases.prefix { $0 != .digestsMoved }, Meanwhile.allCases)
    func othersWorkDuringAMerge(step: CompactionStep, meanwhile: Meanwhile) throws {
        let (opened, outcome) = (Monitor<SnapshotTree?>(nil), Monitor<[String]?>(nil))
        let tree = try SnapshotTree(
            root: store.root, durability: .deferred, step: { (_) throws(SnapshotTreeError) in },
            compactionStep: { (at) throws(SnapshotTreeError) in
                guard at == step, let tree = opened.with({ $0 }) else { return }
                opened.with { $0 = nil }
                outcome.with { $0 = self.happen(meanwhile, in: tree) }
            })
        let made = try grow(tree, 8)
        opened.with { $0 = tree }
        let last = try grow(tree, 1, from: made[7])[0]
        #expect(outcome.with { $0 } == [])
        tree.waitUntilRemoved()
        #expect(try isClean(tree) == [])
        #expect(try names(in: store.root + "/staging") == [])
        if meanwhile == .allIsDeleted {
            for directory in ["layers", "digests", "merges", "snapshots"] {
                #expect(try names(in: "\(store.root)/\(directory)") == [], "\(directory)")
            }
            return
        }
        let top = try layers(tree, last).last { exists(tree.layerPath($0) + "/root/same") }
        #expect(try readFile(tree.layerPath(#require(top)) + "/root/same") == "0")
        #expect(try tree.gc().removed == [])
        _ = try tree.delete(try #require(tree.snapshots().first).id, subtree: true)
        tree.waitUntilRemoved()
        for directory in ["layers", "merges"] { #expect(try names(in: "\(store.root)/\(directory)") == []) }
    }

    /// The first eight snapshots of the tree have their layers merged; what went wrong.
    private func happen(_ meanwhile: Meanwhile, in tree: SnapshotTree) -> [String] {
        do {
            let records = try tree.snapshots()
            switch meanwhile {
            case .partsAreDeleted:
                for record in records.dropLast() { _ = try tree.delete(record.id, keepingChildren: true) }
            case .allIsDeleted: _ = try tree.delete(records[0].id, subtree: true)
            case .collection: return try tree.gc().removed
            case .restore:
                for record in records {
                    try tree.checkBeforeUse(record, thoroughly: true)
                    let layers = try tree.unmergedLayers(of: record)
                    if !layers.allSatisfy({ exists(tree.layerPath($0)) }) { return ["a layer is gone"] }
                }
            case .verification: return try isClean(tree).map(\.path)
            }
            return []
        } catch {
            return ["\(error)"]
        }
    }

    private static let copyStore = """
        import shutil, sys
        def copy(here, there):
            # What the flusher takes away meanwhile is no more.
            try: shutil.copy2(here, there, follow_symlinks=False)
            except FileNotFoundError: pass
        shutil.copytree(sys.argv[1], sys.argv[2], symlinks=True, copy_function=copy)
        """

    @Test func damagedMergedLayerIsGivenUpForItsParts() throws {
        let tree = try store.open()
        let made = try grow(tree, 9)
        let top = try #require(try tree.record(made[8].id))
        let merged = try tree.layersToMount(of: top)[0]
        #expect(unlink(tree.layerPath(merged) + "/root/file-3") == 0)
        #expect(try isClean(tree).map(\.path).contains("layers/\(merged)/root/file-3"))
        try tree.checkBeforeUse(top)
        #expect(try tree.layersToMount(of: top) == top.layers)
        #expect(try tree.gc().removed == ["layers/\(merged)"])
        #expect(try isClean(tree) == [])
    }

    @Test func damagedRecordOfAMergeIsNamedAndForgotten() throws {
        var merged = ""
        do {
            let tree = try store.open()
            merged = try layers(tree, try grow(tree, 9)[8])[0]
            try writeFile("\(store.root)/merges/\(merged)", "other")
            #expect(try isClean(tree).map(\.path) == ["merges/\(merged)"])
        }
        let tree = try store.open()
        #expect(tree.recovery.forgottenMerges == [merged])
        #expect(try tree.gc().removed == ["layers/\(merged)"])
        #expect(try isClean(tree) == [])
    }

    @Test func diskUsageTellsMergedLayersFromCopies() throws {
        let tree = try store.open()
        let made = try grow(tree, 9)
        _ = try tree.delete(made[0].id, keepingChildren: true)
        // Nobody lists what was merged: it makes no byte of another's.
        let records = try tree.snapshots().suffix(1)
        for info in made[1..<8] { _ = try tree.delete(info.id, keepingChildren: true) }
        let before = try tree.usage(of: Array(records))
        #expect(try names(in: store.root + "/layers").count == 10)
        #expect(before.snapshots[0].layers.sharedBytes == 0)
        #expect(before.snapshots[0].layers.ownBytes == before.snapshots[0].layers.logicalBytes)
        // Its directories take room all the same.
        #expect(before.layerBytes > before.snapshots[0].layers.logicalBytes)
        // Once another snapshot lists it, the files are of both.
        let next = try grow(tree, 1, from: made[8])
        let after = try tree.usage(of: try tree.snapshots())
        #expect(next[0].layers.count == 3)
        #expect(after.snapshots[0].layers.sharedBytes > 0)
        #expect(after.snapshots[1].layers.ownBytes > 0)
    }
}
