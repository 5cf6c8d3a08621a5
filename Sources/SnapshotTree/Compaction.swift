import Digests
import Glibc
import LinuxSystem
import Messages

/// Called after each step of a compaction; throwing makes it fail there.
typealias CompactionHook = @Sendable (CompactionStep) throws(SnapshotTreeError) -> Void

/// The steps of a compaction, in their order.
enum CompactionStep: CaseIterable, Sendable {
    case layersMerged, digestsWritten, mergeWritten, madeDurable, digestsMoved, layerMoved, mergeMoved
}

/// What the thread that merges layers has before it.
struct Compaction {
    /// Snapshots whose chains may have become long.
    var waiting: [String] = []
    var isRunning = false
    var isOver = false
    /// Layers that cannot be merged with others: they, or their neighbours, are damaged.
    var unmergeable: Set<String> = []
}

extension SnapshotTree {
    /// How long a chain waits to be merged, in microseconds: what follows a save at once has the disk first.
    private static let pause: UInt32 = 20_000
    /// A chain of more layers than this is merged before it is mounted; the kernel takes 500 (fs/overlayfs/params.h).
    private static let longestMounted = 96

    /// The layers that show a snapshot's files, lowest first: its own, or merged ones in their place.
    ///
    /// Whoever uses them has to keep the snapshot from being deleted until they are known to be in use.
    public func layersToMount(of record: Record) throws(SnapshotTreeError) -> [String] {
        while true {
            let layers = try locked { (catalog) throws(SnapshotTreeError) in
                catalog.index.merged(record.layers)
            }
            guard layers.count > Self.longestMounted, try mergeNext(below: record.id) else { return layers }
        }
    }

    /// The layers that snapshots brought, lowest first, where they are there: of two snapshots with a common past the
    /// lists begin alike.
    public func unmergedLayers(of record: Record) throws(SnapshotTreeError) -> [String] {
        try locked { (catalog) throws(SnapshotTreeError) in
            catalog.index.unmerged(record.layers) { faccessat(layout.layers.raw, $0, F_OK, 0) == 0 }
        }
    }

    /// Waits until every chain that has become long has been merged, or has failed to be.
    public func waitUntilCompacted() { compaction.wait { $0.isRunning ? nil : () } }

    /// Merges nothing more: what is under way is left to be swept by the next start.
    public func endCompaction() { compaction.with { $0.isOver = true } }

    /// Has the layers below a new snapshot's own merged soon, where they are many.
    func compactSoon(below manifest: Manifest) {
        guard manifest.layers.count > LayerIndex.fan else { return }
        let starts = compaction.with { state in
            state.waiting.append(manifest.id)
            defer { state.isRunning = true }
            return !state.isRunning
        }
        if starts { startThread { self.compact() } }
    }

    private func compact() {
        usleep(Self.pause)
        while true {
            let next = compaction.with(wake: true) { state -> String? in
                if state.isOver { state.waiting = [] }
                state.isRunning = !state.waiting.isEmpty
                return state.isRunning ? state.waiting.removeFirst() : nil
            }
            guard let next else { return }
            do throws(SnapshotTreeError) {
                while try mergeNext(below: next), !compaction.with({ $0.isOver }) {}
            } catch {
                report("the layers below snapshot \(next) are not merged: \(error)")
            }
        }
    }

    /// Gives a merged layer up: its parts serve again. The layer itself stays while somebody uses it.
    func giveUp(merge id: String) throws(SnapshotTreeError) {
        try locked { (catalog) throws(SnapshotTreeError) in
            unlinkat(layout.merges.raw, id, 0)
            let parts = catalog.index.merges[id]?.parts ?? []
            compaction.with { $0.unmergeable.formUnion(parts) }
            catalog.index.removeMerge(id)
            catalog.listing.forget()
        }
    }

    private struct Plan {
        let parts: [String]
        let level: Int
        /// Of the parts' digest lists.
        let digests: [Digest?]
    }

    /// Merges once what lies below a snapshot's own layer; false where there is nothing to do.
    private func mergeNext(below id: String) throws(SnapshotTreeError) -> Bool {
        try merging.with { (_) throws(SnapshotTreeError) in
            guard let plan = try plan(below: id) else { return false }
            do throws(SnapshotTreeError) {
                try watchingMerge(of: plan, below: id) { (done) throws(SnapshotTreeError) in
                    try merge(plan, counting: done)
                }
                return true
            } catch {
                switch error {
                // A part was deleted meanwhile, and with it the need.
                case .system(let cause) where cause.isMissing: return false
                case .system(let cause) where cause.code == ESTALE: break
                case .damaged: break
                // What fails for want of space, for example, is tried again after the next save.
                default: throw error
                }
                compaction.with { $0.unmergeable.formUnion(plan.parts) }
                throw error
            }
        }
    }

    private func watchingMerge(
        of plan: Plan, below id: String, _ merge: (WorkCount) throws(SnapshotTreeError) -> Void
    ) throws(SnapshotTreeError) {
        let done = WorkCount()
        let ended = watchMerge(id, plan.parts.count, done)
        do throws(SnapshotTreeError) { try merge(done) } catch {
            ended(false)
            throw error
        }
        ended(true)
    }

    private func plan(below id: String) throws(SnapshotTreeError) -> Plan? {
        try locked { (catalog) throws(SnapshotTreeError) in
            guard let manifest = try catalog.record(id)?.manifest else { return nil }
            let below = manifest.layers.filter { $0 != manifest.ownLayer }
            let unmergeable = compaction.with { $0.unmergeable }
            guard
                let (parts, level) = catalog.index.nextMerge(
                    in: catalog.index.merged(below), except: unmergeable)
            else { return nil }
            let digests = parts.map { manifest.layerDigests[$0] ?? catalog.index.merges[$0]?.digest }
            return Plan(parts: parts, level: level, digests: digests)
        }
    }

    private func merge(_ plan: Plan, counting done: WorkCount) throws(SnapshotTreeError) {
        let staging = try stage()
        do throws(SnapshotTreeError) {
            try staging.makeLayer()
            let merged = try wrapping { () throws(SystemError) in
                try LayerMerge.merge(
                    plan.parts.map(layout.layerPath), into: staging.layerPath, counting: done)
            }
            try compactionStep(.layersMerged)
            let digest = try writeDigests(of: merged, plan, staging)
            try compactionStep(.digestsWritten)
            let merge = try wrapping { () throws(SystemError) in
                let layer = try Descriptor.directory(staging.layerPath)
                let merge = MergedLayer(
                    id: staging.layerID, level: plan.level, parts: plan.parts, digest: digest,
                    bytes: try DiskUsage.of(layer).bytes)
                try Descriptor.directory(staging.path)
                    .replaceFile(Self.stagedName, with: merge.encoded, durable: false)
                return merge
            }
            try compactionStep(.mergeWritten)
            if durability == .none {
                flusher.fallBehind()
            } else {
                try wrapping { () throws(SystemError) in
                    try TreeSync.synchronize(try Descriptor.directory(staging.path))
                }
            }
            try compactionStep(.madeDurable)
            try makeUsable(merge, staging)
        } catch {
            abandon(staging)
            throw error
        }
        abandon(staging)
    }

    private static let stagedName = "merge"

    /// Writes the digest list of a merged layer. Contents are not read again: what the parts' lists say of them holds,
    /// and all else has to be as they say.
    private func writeDigests(
        of merged: LayerMerge.Result, _ plan: Plan, _ staging: Staging
    ) throws(SnapshotTreeError) -> Digest {
        let lists = try zip(plan.parts, plan.digests).map { (part, digest) throws(SnapshotTreeError) in
            let stored = try wrapping { () throws(SystemError) in
                try Files.read(layout.digestsPath(ofLayer: part))
            }
            guard Digest(of: stored) == digest, let list = DigestList(stored) else {
                throw SnapshotTreeError.damaged(what: "digests/\(part)", reason: "it is not what was saved")
            }
            return list
        }
        let walk = try wrapping { () throws(SystemError) in
            try DigestWalk.read(
                try Descriptor.directory(staging.layerPath), keepsTimes: true
            ) { path, _ in merged.origins[path].flatMap { lists[$0].entries[path]?.content } }
        }
        for (path, found) in walk.list.entries {
            guard let origin = merged.origins[path], var saved = lists[origin].entries[path] else {
                throw .damaged(what: "layer \(plan.parts[0])", reason: "\(path) is in no list")
            }
            if merged.madeOpaque.contains(path) { saved.attributes = found.attributes }
            if let problem = saved.difference(from: found) {
                throw .damaged(what: "layers/\(plan.parts[origin])/\(path)", reason: "it \(problem)")
            }
        }
        return try wrapping { () throws(SystemError) in
            try Descriptor.directory(staging.path).write(walk, to: Staging.layerDigestsName)
        }
    }

    /// Moves a merged layer to where it is found. It can be used once `merges/ID` is there, which comes last.
    private func makeUsable(_ merge: MergedLayer, _ staging: Staging) throws(SnapshotTreeError) {
        try locked { (catalog) throws(SnapshotTreeError) in
            // A deletion may have taken the need away, which nobody would notice later.
            guard let top = merge.parts.last, catalog.index.isNeeded(top) else { return }
            let from = layout.staging.raw
            let (digests, layers, merges) = (layout.digests.raw, layout.layers.raw, layout.merges.raw)
            try move("\(staging.id)/\(Staging.layerDigestsName)", in: from, to: merge.id, in: digests)
            do throws(SnapshotTreeError) {
                try compactionStep(.digestsMoved)
                try move("\(staging.id)/layer", in: from, to: merge.id, in: layers)
                try compactionStep(.layerMoved)
                try move("\(staging.id)/\(Self.stagedName)", in: from, to: merge.id, in: merges)
                try compactionStep(.mergeMoved)
            } catch {
                unlinkat(merges, merge.id, 0)
                try? move(merge.id, in: layers, to: "\(staging.id)/layer", in: from)
                unlinkat(digests, merge.id, 0)
                throw error
            }
            catalog.index.add(merge)
        }
        guard durability != .none else { return }
        try wrapping { () throws(SystemError) in
            try layout.digests.synchronize()
            try layout.layers.synchronize()
            try layout.merges.synchronize()
        }
    }
}
