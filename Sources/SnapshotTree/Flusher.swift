import Glibc
import LinuxSystem

/// Makes published snapshots durable behind their caller's back, in the order they were published.
///
/// A snapshot that is not durable yet has a file `boot` with the kernel's boot id in its directory, and a durable
/// one a file `durable`. A crash of the server loses nothing, for what was written is in the kernel's page cache;
/// after a crash of the machine the boot id is another one, and the next start drops the snapshot whole.
final class Flusher: Sendable {
    static let bootName = "boot"
    static let durableName = "durable"
    /// With more snapshots waiting than this, one syncfs is quicker than to go through their files.
    private static let batch = 4
    /// How long the first snapshot waits, in microseconds.
    private static let pause: UInt32 = 50_000

    private struct State {
        var waiting: [Job] = []
        var isRunning = false
        /// There are layers and snapshots that nobody has been told to flush.
        var isBehind = false
    }
    private struct Job: Sendable {
        let snapshot: String
        let layer: String?
    }

    private let layout: Layout
    private let report: @Sendable (String) -> Void
    private let state = Monitor(State())

    init(_ layout: Layout, report: @escaping @Sendable (String) -> Void) {
        self.layout = layout
        self.report = report
    }

    /// Notes that there is something that nobody will flush, unless something else needs it.
    func fallBehind() { state.with { $0.isBehind = true } }
    var isBehind: Bool { state.with { $0.isBehind } }

    /// Flushes what a snapshot that is to be durable may stand on and that is not durable yet.
    func catchUp() throws(SystemError) {
        guard state.with({ $0.isBehind || $0.isRunning }) else { return }
        try retrying("syncfs") { syncfs(layout.snapshots.raw) }
    }

    /// Has the snapshot, and the layer it brought, made durable soon.
    func add(_ snapshot: String, layer: String? = nil) {
        let starts = state.with { state in
            state.waiting.append(Job(snapshot: snapshot, layer: layer))
            defer { state.isRunning = true }
            return !state.isRunning
        }
        if starts { startThread { self.run() } }
    }

    /// Waits until everything added is durable, or has failed to be.
    func waitUntilIdle() {
        state.wait { $0.isRunning ? nil : () }
    }

    private func run() {
        // What follows a save at once, often a restore or a fork, has the disk first.
        usleep(Self.pause)
        while true {
            let (jobs, isBehind) = state.with(wake: true) { state in
                let jobs = state.waiting
                let isBehind = state.isBehind
                state.waiting = []
                state.isRunning = !jobs.isEmpty
                if !jobs.isEmpty { state.isBehind = false }
                return (jobs, isBehind)
            }
            if jobs.isEmpty { return }
            do throws(SystemError) { try flush(jobs, everything: isBehind) } catch {
                if isBehind { fallBehind() }
                report("snapshots \(jobs.map(\.snapshot).joined(separator: ", ")) are not durable: \(error)")
            }
        }
    }

    private func flush(_ jobs: [Job], everything: Bool) throws(SystemError) {
        if everything || jobs.count > Self.batch {
            try retrying("syncfs") { syncfs(layout.snapshots.raw) }
        } else {
            for job in jobs { try flushTrees(job) }
        }
        try layout.digests.synchronize()
        try layout.layers.synchronize()
        try layout.snapshots.synchronize()
        for job in jobs { try Self.markDurable(job.snapshot, in: layout) }
    }

    private func flushTrees(_ job: Job) throws(SystemError) {
        // The layer first, and whatever became of the snapshot: another one may list it by now.
        if let layer = job.layer {
            try flushTree(layout.layerPath(layer))
            try flushFile(layout.digestsPath(ofLayer: layer))
        }
        try flushTree(layout.snapshotPath(job.snapshot))
    }

    private func flushTree(_ path: String) throws(SystemError) {
        do throws(SystemError) { try TreeSync.synchronize(try Descriptor.directory(path)) } catch {
            // Deleted meanwhile.
            if !error.isMissing { throw error }
        }
    }

    private func flushFile(_ path: String) throws(SystemError) {
        do throws(SystemError) { try Descriptor.open(path, O_RDONLY).synchronize() } catch {
            if !error.isMissing { throw error }
        }
    }

    /// Writes down that a snapshot, all of it, is on the disk.
    static func markDurable(_ snapshot: String, in layout: Layout) throws(SystemError) {
        do throws(SystemError) {
            let directory = try Descriptor.directory(layout.snapshotPath(snapshot))
            _ = try Descriptor.open(Self.durableName, below: directory, O_WRONLY | O_CREAT | O_NOFOLLOW)
            try directory.synchronize()
            // Nothing looks at it any more.
            unlinkat(directory.raw, Self.bootName, 0)
        } catch {
            if !error.isMissing { throw error }
        }
    }

    /// Identifies this run of the machine (random(4), /proc/sys/kernel/random/boot_id).
    static func bootID() throws(SystemError) -> [UInt8] { try Files.read("/proc/sys/kernel/random/boot_id") }
}
