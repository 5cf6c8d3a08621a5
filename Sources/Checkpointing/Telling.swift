import Glibc
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree
import Telemetry

extension CheckpointManager {
    /// Tells of a snapshot; that of a crash comes before the crash's own event.
    func tellSave(_ info: SnapshotInfo, crash: CrashInfo?) {
        if let frozen = info.timings?.frozenMs { telemetry.metrics.froze(seconds: frozen / 1000) }
        telemetry.emit(.saved) { event in
            (event.sandbox, event.snapshot) = (info.sandbox, info.id)
            (event.durationMs, event.timings) = (info.timings?.totalMs, info.timings)
            event.bytes = info.processBytes + info.layerBytes
            event.message = info.message
            if crash != nil { event.operation = "crash" }
        }
    }

    func tellCrash(
        _ crash: CrashInfo, of sandbox: LiveSandbox, _ sentence: String, _ snapshot: String?,
        _ error: ErrorMessage? = nil
    ) {
        telemetry.emit(.crashed) { event in
            (event.sandbox, event.snapshot) = (sandbox.name, snapshot)
            (event.message, event.error) = ("sandbox \(sandbox.name): \(sentence)", error)
            (event.signal, event.exitCode) = (
                Int32(clamping: crash.signal), 128 + Int32(clamping: crash.signal)
            )
        }
    }

    /// Tells of layers that are merged.
    static func tellMerges(_ telemetry: Telemetry) -> MergeWatch {
        { snapshot, parts, done in
            let start = monotonicNanoseconds()
            let work = telemetry.began("compaction", snapshot: snapshot)
            work.phase("merging layers") { (done.value, Int64(parts)) }
            return { succeeded in
                work.end()
                guard succeeded else { return }
                telemetry.emit(.compaction) { event in
                    (event.snapshot, event.count) = (snapshot, parts)
                    event.durationMs = milliseconds(since: start)
                    event.message = "\(parts) layers below snapshot \(snapshot) are one"
                }
            }
        }
    }

    /// Tells what opening the store put right.
    func tellRecovery() {
        let recovery = store.recovery
        if recovery.isClean { return }
        let count =
            recovery.swept.count + recovery.added.count + recovery.removed.count + recovery.orphaned.count
            + recovery.damaged.count + recovery.dropped.count + recovery.kept.count
            + recovery.retagged.count + recovery.forgottenMerges.count
        if !(recovery.damaged.isEmpty && recovery.removed.isEmpty && recovery.dropped.isEmpty) {
            putRight.with { $0.hasLost = true }
        }
        mended(recovery.sentence, count: count, bytes: recovery.sweptBytes)
    }
}

extension Recovery {
    /// What was put right, in words: `store: 2 half-made removed, 1 found on disk`.
    var sentence: String {
        var parts: [String] = []
        func add(_ ids: [String], _ what: String) {
            guard !ids.isEmpty else { return }
            let named = ids.sorted().prefix(8).joined(separator: ", ") + (ids.count > 8 ? ", …" : "")
            parts.append("\(ids.count) \(what) (\(named))")
        }
        if let damagedCatalog {
            parts.append("the catalog was damaged, lies in \(damagedCatalog) and was rebuilt")
        }
        if !swept.isEmpty { parts.append("\(swept.count) half-made removed, \(sweptBytes) bytes") }
        add(added, "found on disk and taken into the catalog")
        add(removed, "gone from the disk and taken out of the catalog")
        add(orphaned, "without their parent, roots now")
        add(damaged.map { "\($0.key): \($0.value)" }, "damaged")
        add(dropped, "not durable when the machine went down and not whole, dropped")
        add(kept, "not durable when the machine went down, read and found whole")
        add(retagged, "with other tags in the catalog than are written down, corrected")
        add(forgottenMerges, "merged layers forgotten, their parts serve again")
        return "store: " + parts.joined(separator: "; ")
    }
}

extension LiveSandbox {
    /// Tells of processes that the kernel killed for want of memory since that was last told.
    func noticeKills() {
        guard let groups = with({ $0.running?.groups }), groups.countsMemory, let kills = groups.oomKills
        else {
            return
        }
        let new = with { state -> UInt64 in
            // Meanwhile it may run in other groups, which count from zero.
            guard let running = state.running, running.groups == groups, kills > running.oomKillsTold else {
                return 0
            }
            state.running?.oomKillsTold = kills
            return kills - running.oomKillsTold
        }
        if new == 0 { return }
        telemetry.emit(.oom) { event in
            (event.sandbox, event.count) = (name, Int(clamping: new))
            let limit = record.spec.limits.memory.map { " of \($0)" } ?? ""
            event.message =
                "sandbox \(name) reached its memory limit\(limit): the kernel killed \(new) "
                + (new == 1 ? "process" : "processes")
        }
    }

    /// Tells that its PID 1 ended without being asked to.
    func tellDeath(of process: SandboxProcess) {
        let record = record
        telemetry.emit(.died) { event in
            (event.sandbox, event.snapshot) = (name, record.position)
            event.message = "sandbox \(name) died: \(record.reason ?? "its PID 1 ended")"
            (event.exitCode, event.signal) = (process.ending?.exitCode, process.ending?.signal)
        }
    }
}
