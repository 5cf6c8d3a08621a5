import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree
import Telemetry

/// What was counted in the store when somebody last asked.
private struct StoredNumbers {
    var lookedAt: UInt64 = 0
    var snapshots = 0
    var bytes = DiskShare()
}

extension CheckpointManager {
    /// How long numbers of the store are good for, in nanoseconds: a catalog may have thousands of rows.
    private static let storeAge: UInt64 = 5_000_000_000
    /// How long all sandboxes together may take to tell of their jobs, in nanoseconds.
    private static let jobPatience: UInt64 = 500_000_000

    /// Has the metrics ask for what there is now.
    func provideNumbers() {
        let stored = Monitor(StoredNumbers())
        telemetry.metrics.provide { [weak self] in
            guard let self else { return [] }
            return sandboxNumbers() + storeNumbers(stored)
        }
    }

    private func sandboxNumbers() -> [MetricFamily] {
        var states: [SandboxState: Int] = [:]
        var jobs = 0
        let deadline = monotonicNanoseconds() + Self.jobPatience
        for sandbox in all {
            let (record, running) = sandbox.with { ($0.record, $0.running) }
            states[running?.isPaused == true ? .paused : record.state, default: 0] += 1
            guard let running, !running.isPaused, monotonicNanoseconds() < deadline else { continue }
            // One that is being saved answers later: its jobs are left out.
            let listed = try? running.channel.jobs(
                deadline: min(deadline, monotonicNanoseconds() + 20_000_000))
            jobs += listed?.count { !$0.hasEnded } ?? 0
        }
        let spares = spares.with { $0.ready.count }
        return [
            MetricFamily(
                "ckpt_sandboxes", .gauge, "Sandboxes by their state.",
                [SandboxState.running, .paused, .stopped, .dead].map { state in
                    MetricSample([("state", state.rawValue)], Double(states[state] ?? 0))
                }),
            MetricFamily(
                "ckpt_jobs", .gauge, "Jobs that run, in sandboxes that answered at once.",
                [MetricSample([], Double(jobs))]),
            MetricFamily(
                "ckpt_spare_sandboxes", .gauge, "Sandboxes that wait to be given a name.",
                [MetricSample([], Double(spares))]),
            MetricFamily(
                "ckpt_removals_left", .gauge,
                "Directories that nobody wants any more and that are yet to be removed.",
                [MetricSample([], Double(store.removalsLeft))]),
        ]
    }

    private func storeNumbers(_ stored: Monitor<StoredNumbers>) -> [MetricFamily] {
        let now = monotonicNanoseconds()
        let known = stored.with { stored -> StoredNumbers in
            // Somebody else may have looked after this one's `now`.
            if stored.lookedAt != 0, now < stored.lookedAt + Self.storeAge { return stored }
            guard let infos = try? store.infos() else { return stored }
            stored = StoredNumbers(lookedAt: now, snapshots: infos.count)
            for share in infos.compactMap(\.storage) {
                stored.bytes.logicalBytes += share.logicalBytes
                stored.bytes.ownBytes += share.ownBytes
            }
            stored.bytes.sharedBytes = max(0, stored.bytes.logicalBytes - stored.bytes.ownBytes)
            return stored
        }
        let kinds = [
            ("logical", known.bytes.logicalBytes), ("stored", known.bytes.ownBytes),
            ("shared", known.bytes.sharedBytes),
        ]
        return [
            MetricFamily(
                "ckpt_snapshots", .gauge, "Snapshots in the store.",
                [MetricSample([], Double(known.snapshots))]),
            MetricFamily(
                "ckpt_store_bytes", .gauge,
                "Bytes of all snapshots: logical if nothing were shared, stored as they are, shared the difference.",
                kinds.map { MetricSample([("kind", $0)], Double($1)) }),
        ]
    }
}
