import Digests
import Glibc
public import LinuxSystem
public import Messages

/// All snapshots of one store: their parent links, tags, layers and process images.
///
/// Every method may be called from any thread. What takes long (copying, flushing, removing) runs outside
/// the lock of the catalog.
public final class SnapshotTree: Sendable {
    /// What opening the store found and put right.
    public let recovery: Recovery
    /// What a published snapshot survives, where its save does not say otherwise.
    public let durability: Durability

    let layout: Layout
    let catalog: Monitor<Catalog>
    let live: LiveStagings
    let step: PublishHook
    let flusher: Flusher
    /// Process images that were found whole, and what the kernel said of their files then.
    let wholeProcesses = Monitor<[String: Digest]>([:])
    let removals = Monitor(Removals())
    /// When somebody was last seen to ask for something, in nanoseconds of CLOCK_MONOTONIC: what can wait stands back then.
    public let asked = Monitor<UInt64>(0)
    let compaction = Monitor(Compaction())
    /// Held by the one thread that merges layers.
    let merging = Monitor(())
    let compactionStep: CompactionHook
    let lists = Monitor(ReadLists())
    let files = Monitor(ReadFiles())
    let report: @Sendable (String) -> Void
    let watchMerge: MergeWatch

    /// Opens the store below `root`, or makes an empty one, sweeps what a crash left half-made and brings
    /// the catalog in line with the snapshots on disk.
    ///
    /// `report` is told of snapshots that could not be made durable later, `watchMerge` of layers that are made one.
    /// Throws `versionMismatch` for a store of another format, `storeInUse` while another process has it
    /// open, `noSpace` and `system`.
    public convenience init(
        root: String, durability: Durability = .snapshot,
        report: @escaping @Sendable (String) -> Void = { _ in },
        watchMerge: @escaping MergeWatch = unwatchedMerge
    ) throws(SnapshotTreeError) {
        try self.init(
            root: root, durability: durability, report: report, watchMerge: watchMerge,
            step: { (_) throws(SnapshotTreeError) in })
    }

    /// The same, with functions that are called at each step of a publication and of a compaction: tests fail and
    /// crash there.
    init(
        root: String, durability: Durability, report: @escaping @Sendable (String) -> Void = { _ in },
        watchMerge: @escaping MergeWatch = unwatchedMerge, step: @escaping PublishHook,
        compactionStep: @escaping CompactionHook = { (_) throws(SnapshotTreeError) in }
    ) throws(SnapshotTreeError) {
        let layout = try Layout(root: root)
        let (catalog, recovery) = try Recovery.open(layout, durability)
        self.layout = layout
        self.recovery = recovery
        self.durability = durability
        self.step = step
        self.compactionStep = compactionStep
        self.report = report
        self.watchMerge = watchMerge
        self.catalog = Monitor(catalog)
        live = LiveStagings()
        flusher = Flusher(layout, report: report)
        Reserve.keep(root)
        if !recovery.unflushed.isEmpty { flusher.fallBehind() }
        if durability != .none { for id in recovery.unflushed { flusher.add(id) } }
        try removeLeftTrash()
    }

    /// Waits until every snapshot published so far is durable, or has been reported not to be; for those that nobody
    /// was to flush too.
    public func waitUntilDurable() {
        flusher.waitUntilIdle()
        guard flusher.isBehind else { return }
        if let (ours, _) = try? layout.unflushed() { for id in ours { flusher.add(id) } }
        flusher.waitUntilIdle()
    }

    /// Ends the work on the store in order: everything is durable, and the next start has nothing to look for but
    /// what was yet to be removed.
    public func close() {
        waitUntilDurable()
        endRemovals()
        // Merged layers are no snapshot's to flush.
        do throws(SnapshotTreeError) {
            try wrapping { () throws(SystemError) in try flusher.catchUp() }
            try locked { (catalog) throws(SnapshotTreeError) in
                try catalog.emptyJournal()
                try wrapping { () throws(SystemError) in try layout.endSession() }
            }
        } catch {
            report("the store is not closed in order, and is looked through at the next start: \(error)")
        }
    }

    /// The store's directory.
    public var root: String { layout.root }

    /// The directory of a layer; immutable.
    public func layerPath(_ layer: String) -> String { layout.layerPath(layer) }

    /// The directory of a snapshot's CRIU image files; immutable.
    public func processPath(_ id: String) -> String { layout.snapshotPath(id) + "/process" }

    /// Runs `body` alone on the catalog.
    func locked<Result>(
        _ body: (Catalog) throws(SnapshotTreeError) -> Result
    ) throws(SnapshotTreeError) -> Result {
        try catalog.with { (catalog) throws(SnapshotTreeError) in
            do throws(SnapshotTreeError) {
                return try body(catalog)
            } catch {
                if case .damaged = error { layout.markSuspect() }
                throw error
            }
        }
    }
}

extension SnapshotTree {
    /// One snapshot, as the tree knows it.
    public struct Record: Equatable, Sendable {
        /// What it was published with.
        public let manifest: Manifest
        /// Its tags, in alphabetical order.
        public let tags: [String]
        /// The parent it had when that one has gone missing from the store; nil as a rule.
        public let lostParent: String?

        /// The snapshot's id.
        public var id: String { manifest.id }
        /// Its parent in the tree; nil for a root, and where the parent was lost.
        public var parent: String? { lostParent == nil ? manifest.parent : nil }
        /// The layers over the base, lowest first.
        public var layers: [String] { manifest.layers }
        /// What its sandbox is made of.
        public var spec: SandboxSpec { manifest.spec }
    }
}
