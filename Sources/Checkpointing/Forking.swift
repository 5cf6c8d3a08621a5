import LinuxSystem
public import Messages
import SnapshotTree
import Telemetry

extension CheckpointManager {
    /// Restores at once: more than the cores only wait for each other.
    private static let forkers = 4

    /// Starts new sandboxes from one snapshot: all of them, or an error and none; none, too, where the caller goes away
    /// before the last one runs.
    public func fork(
        _ request: ForkRequest, cancelled: Cancellation
    ) throws(ErrorMessage) -> ForkResult {
        let start = monotonicNanoseconds()
        let count = request.count ?? 1
        guard (1...1000).contains(count) else {
            throw ErrorMessage(.badValue, "\(count) forks cannot be made at once", hint: "1 to 1000")
        }
        let snapshot = try resolve(request.source)
        let work = telemetry.began("fork", snapshot: snapshot.id)
        defer { work.end() }
        try leasing(snapshot) { () throws(ErrorMessage) in
            try checkBeforeUse(snapshot, thoroughly: request.verify, work)
        }
        let names = try forkNames(request, count: count, snapshot: snapshot)
        let ground = try Ground(manifest: snapshot.manifest)
        var made: [LiveSandbox] = []
        do throws(ErrorMessage) {
            for name in names {
                made.append(
                    try register(named: name) { name in
                        var record = SandboxRecord(
                            name: name, spec: snapshot.spec, created: secondsSince1970(), ground: ground)
                        record.isFork = true
                        return record
                    })
            }
            let each = try leasing(snapshot) { () throws(ErrorMessage) in
                try startAll(made, from: snapshot, request.arrivalOfMemory, work, cancelled)
            }
            try cancelled.check()
            var timings = Timings(totalMs: milliseconds(since: start))
            timings.criuMs = each.compactMap(\.criuMs).max()
            telemetry.emit(.forked) { event in
                (event.snapshot, event.names, event.count) = (snapshot.id, made.map(\.name), made.count)
                (event.durationMs, event.timings) = (timings.totalMs, timings)
            }
            return ForkResult(
                sandboxes: made.map { $0.info(restored: max(1, snapshot.manifest.processes)) },
                snapshot: snapshot.id,
                timings: timings,
                eachMs: each.map(\.totalMs))
        } catch {
            for sandbox in made {
                // One that is gone already is nothing to clear away.
                try? sandbox.exclusively { () throws(ErrorMessage) in unregister(sandbox) }
            }
            throw error
        }
    }

    /// Restores into every sandbox, a few at a time; what each took.
    private func startAll(
        _ made: [LiveSandbox], from snapshot: SnapshotTree.Record, _ memory: MemoryMode,
        _ work: LongOperation, _ cancelled: Cancellation
    ) throws(ErrorMessage) -> [Timings] {
        struct Progress {
            var next = 0
            var finished = 0
            var done = 0
            var failure: ErrorMessage?
            var each: [Timings]
        }
        let progress = Monitor(Progress(each: [Timings](repeating: Timings(totalMs: 0), count: made.count)))
        work.phase("restoring", in: .sandboxes) { (progress.with { Int64($0.done) }, Int64(made.count)) }
        let restoring: @Sendable () -> Void = {
            while true {
                let index = progress.with { state -> Int? in
                    guard state.next < made.count, state.failure == nil else { return nil }
                    defer { state.next += 1 }
                    return state.next
                }
                guard let index else { break }
                let start = monotonicNanoseconds()
                do throws(ErrorMessage) {
                    try cancelled.check()
                    var timings = Timings(totalMs: 0)
                    try self.startFork(made[index], from: snapshot, memory, &timings)
                    timings.totalMs = milliseconds(since: start)
                    progress.with { [timings] in
                        $0.each[index] = timings
                        $0.done += 1
                    }
                } catch {
                    progress.with { $0.failure = $0.failure ?? error }
                }
            }
            progress.with(wake: true) { $0.finished += 1 }
        }
        let threads = min(Self.forkers, made.count)
        for _ in 1..<max(threads, 1) { startThread(restoring) }
        restoring()
        progress.wait { $0.finished == threads ? () : nil }
        if let failure = progress.with({ $0.failure }) { throw failure }
        return progress.with { $0.each }
    }

    private func startFork(
        _ sandbox: LiveSandbox, from snapshot: SnapshotTree.Record, _ memory: MemoryMode,
        _ timings: inout Timings
    ) throws(ErrorMessage) {
        try sandbox.exclusively { () throws(ErrorMessage) in
            try makeDirectory(of: sandbox)
            _ = try bringToLife(snapshot, in: sandbox, memory: memory, &timings)
        }
    }

    /// PREFIX alone for one fork where it is free, else PREFIX-1, PREFIX-2 … with the next free numbers.
    private func forkNames(
        _ request: ForkRequest, count: Int, snapshot: SnapshotTree.Record
    ) throws(ErrorMessage) -> [String] {
        if let prefix = request.prefix { try Self.check(name: prefix) }
        let prefix = request.prefix ?? snapshot.manifest.sandbox
        let taken = registry.with { Set($0.keys) }
        if count == 1, request.prefix != nil, !taken.contains(prefix) { return [prefix] }
        var names: [String] = []
        var number = 1
        while names.count < count {
            let name = "\(prefix)-\(number)"
            if !taken.contains(name) { names.append(name) }
            number += 1
        }
        for name in names.suffix(1) { try Self.check(name: name) }
        return names
    }
}
