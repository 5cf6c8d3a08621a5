import Criu
import CriuImages
import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime
import SnapshotTree
import Telemetry

extension CheckpointManager {
    /// Longest that a restore may take, in nanoseconds.
    static let restoreLimit: UInt64 = 600_000_000_000

    /// Rolls a sandbox back, in place, to a snapshot: by default the one it stands on.
    ///
    /// The snapshot is brought to life beside what runs now, which is ended only once that has succeeded: a restore
    /// that fails leaves the sandbox as it was.
    public func restore(_ name: String, _ request: Messages.RestoreRequest) throws(ErrorMessage)
        -> RestoreResult
    {
        let start = monotonicNanoseconds()
        let sandbox = try find(name)
        return try sandbox.exclusively { () throws(ErrorMessage) in
            sandbox.noticeDeath()
            let wantsImage = request.engine == .criu || request.suspended == true
            if let twin = findTwin(request.snapshot ?? name), twin.sandbox === sandbox, !wantsImage {
                return try working("restore", on: sandbox) { () throws(ErrorMessage) in
                    try restoreTwin(twin.id, of: sandbox, start: start)
                }
            }
            guard let reference = request.snapshot ?? sandbox.position else {
                throw ErrorMessage(
                    .unknownSnapshot,
                    "sandbox \(name) stands at its base: there is no snapshot to go back to",
                    hint: "name one, or ckpt reset \(name)")
            }
            let snapshot = try resolve(reference)
            // They end with the processes.
            sandbox.twins?.awaitWriting()
            if request.engine == .twin {
                throw ErrorMessage(
                    .wrongState, "snapshot \(snapshot.id) is no twin",
                    hint: "without --engine it is restored as it was made")
            }
            var timings = Timings(totalMs: 0)
            // What it still lacks of its memory is most likely not wanted any more.
            let pager = sandbox.with { $0.running?.filling?.pager }
            pager?.standBack()
            let warnings: [String]
            do throws(ErrorMessage) {
                warnings = try working("restore", on: sandbox) { () throws(ErrorMessage) in
                    try leasing(snapshot) { () throws(ErrorMessage) in
                        try checkBeforeUse(snapshot, thoroughly: request.verify, sandbox.with { $0.work })
                        return try bringToLife(
                            snapshot, in: sandbox, stopped: request.suspended ?? false,
                            memory: request.arrivalOfMemory, byCriu: request.engine == .criu, &timings)
                    }
                }
            } catch {
                pager?.standBack(false)
                throw error
            }
            readAhead(snapshot.id)
            timings.totalMs = milliseconds(since: start)
            var result = RestoreResult(
                sandbox: sandbox.info(restored: max(1, snapshot.manifest.processes)), snapshot: snapshot.id,
                timings: timings)
            if !warnings.isEmpty { result.warnings = warnings }
            telemetry.emit(.restored) { event in
                (event.sandbox, event.snapshot) = (name, snapshot.id)
                (event.durationMs, event.timings) = (timings.totalMs, timings)
            }
            return result
        }
    }

    /// Restores a snapshot's files and processes as the next incarnation of a sandbox, with `stopped` all of them but
    /// PID 1 standing still at the snapshot's instant; what could not be put back.
    func bringToLife(
        _ snapshot: SnapshotTree.Record, in sandbox: LiveSandbox, stopped: Bool = false,
        memory: MemoryMode = .whole, byCriu: Bool = false, _ timings: inout Timings
    ) throws(ErrorMessage) -> [String] {
        let began = monotonicNanoseconds()
        sandbox.phase("files")
        let ground = try Ground(manifest: snapshot.manifest)
        let view = try checkedView(of: snapshot.spec, on: ground)
        if !byCriu, !stopped, let plan = rebuildPlan(for: snapshot, in: sandbox, view, memory),
            try rebuild(snapshot, by: plan, in: sandbox, view: view, ground: ground)
        {
            return []
        }
        let time = ClockTime.now
        let mounted = try mapping { () throws(SnapshotTreeError) in try store.layersToMount(of: snapshot) }
        let (root, incarnation) = nextRoot(of: sandbox, view: view)
        defer { startThread { root.release() } }
        let layers = mounted.reversed().map { store.layerPath($0) }
        let filesystem = Monitor(0.0)
        let mounting = Meanwhile { [self] () throws(ErrorMessage) in
            do throws(RuntimeError) { try root.mount(over: layers) } catch { throw error.message }
            try fillTmpfs(of: root, from: layers)
            filesystem.with { $0 = milliseconds(since: began) }
        }
        let tree: RestoredTree
        let before = sandbox.with { ($0.running, $0.record, $0.wayOut) }
        var limiting: LimitedRestore?
        do throws(ErrorMessage) {
            let instant = monotonicNanoseconds()
            let limited = try LimitedRestore(
                snapshot.spec.limits, named: groupName(of: sandbox, incarnation), in: control)
            limiting = limited
            tree = try usingWorkers { () throws(ErrorMessage) in
                try restoreBeside(
                    TreeToRestore(
                        snapshot: snapshot, sandbox: sandbox, root: root, mounting: mounting,
                        limited: limited, stopped: stopped, memory: memory, incarnation: incarnation))
            }
            if stopped { tree.process.resume() }
            timings.filesystemMs = filesystem.with { $0 }
            timings.criuMs = milliseconds(since: instant)
        } catch {
            try? mounting.wait()
            limiting?.groups.remove()
            removeRoot(root)
            leadOutAgain(sandbox, of: before.0, before.1, had: before.2)
            throw error
        }
        try takeOver(
            sandbox, tree.process, in: limiting!.groups, root: root, incarnation: incarnation,
            layers: mounted, position: snapshot.id, warnings: limiting!.warnings,
            as: (snapshot.spec, ground), filling: tree.filling)
        known.with { $0.noteRestored(snapshot.id, since: time) }
        for warning in tree.warnings {
            report("sandbox \(sandbox.name), snapshot \(snapshot.id): \(warning)")
        }
        return tree.warnings
    }

    /// Restores the tree beside what runs, or in its place: on the host's network nobody can listen on a port twice.
    private func restoreBeside(_ tree: TreeToRestore) throws(ErrorMessage) -> RestoredTree {
        var isAddressTaken = false
        let sandbox = tree.sandbox
        do throws(ErrorMessage) { return try restoreTree(tree, isAddressTaken: &isAddressTaken) } catch {
            guard isAddressTaken, sandbox.record.spec.net == .host, let running = sandbox.with({ $0.running })
            else { throw error }
            sandbox.with { $0.isEnding = true }
            defer { sandbox.with { $0.isEnding = false } }
            running.kill()
            _ = running.process.ended(within: 5000)
            running.groups.remove()
            do throws(ErrorMessage) { return try restoreTree(tree, isAddressTaken: &isAddressTaken) } catch {
                running.channel.abandon(.rolledBack)
                sandbox.with { $0.running = nil }
                try? sandbox.update { record in
                    record.state = .dead
                    record.process = nil
                    record.reason = "it was ended for a restore that failed: it listened on ports of the host"
                }
                throw error
            }
        }
    }

    /// Restores the tree with its memory behind it, where that is wanted and can be; else all at once.
    private func restoreTree(
        _ tree: TreeToRestore, isAddressTaken: inout Bool
    ) throws(ErrorMessage) -> RestoredTree {
        let lazy: LazyRestore?
        var why: SystemError?
        do throws(SystemError) { lazy = try lazyRestore(of: tree) } catch { (lazy, why) = (nil, error) }
        if let lazy {
            defer { lazy.removeView() }
            do throws(ErrorMessage) {
                return try restoreTree(tree, with: lazy, isAddressTaken: &isAddressTaken)
            } catch {
                guard let failure = lazy.failure else { throw error }
                why = failure
            }
        }
        var restored = try restoreTree(tree, with: nil, isAddressTaken: &isAddressTaken)
        guard let why else { return restored }
        let warning = "its memory could not come in behind it, so it was waited for: \(why)"
        if tree.memory == .lazy { restored.warnings.append(warning) } else { report(warning) }
        return restored
    }

    private func restoreTree(
        _ tree: TreeToRestore, with lazy: LazyRestore?, isAddressTaken: inout Bool
    ) throws(ErrorMessage) -> RestoredTree {
        let (snapshot, sandbox, root) = (tree.snapshot, tree.sandbox, tree.root)
        let spec = snapshot.spec
        let images = try opening { () throws(SystemError) in
            try Descriptor.open(lazy?.view ?? store.processPath(snapshot.id), O_RDONLY | O_DIRECTORY)
        }
        // In memory: CRIU has its log to say why it fails, however full the store is.
        let workPath = "\(workspace)/restores/\(sandbox.name)-\(tree.incarnation)"
        let work = try opening { () throws(SystemError) in
            try Files.makeDirectory(workPath)
            return try Descriptor.open(workPath, O_RDONLY | O_DIRECTORY)
        }
        defer { Files.removeFlatDirectory(workPath) }
        var request = Criu.RestoreRequest(
            root: root.mountPoint, network: spec.net == .host ? .shared : .own, leaveStopped: tree.stopped,
            external: Self.externalsForRestore(root),
            deadline: monotonicNanoseconds() + Self.restoreLimit)
        request.leavesWorker = true
        var preparing: Meanwhile<Void, RuntimeError>?
        // Nothing is left to itself: not even where CRIU ends in between.
        defer { try? preparing?.wait() }
        var puttingBack = try PuttingBack(store.processPath(snapshot.id))
        let pid: Int32
        do throws(CriuError) {
            let worker = try restorer(within: tree.limited, ownNetwork: spec.net != .host)
            pid = try worker.restore(request, from: images, work: work) { notification in
                if notification.moment == .preRestore { try tree.mounting.wait() }
                if notification.moment == .setupNamespaces, let pid = notification.pid {
                    sandbox.refilling(pid, from: snapshot)
                }
                try tree.limited.act(at: notification)
                try setUpNetwork(at: notification, of: sandbox, spec, &preparing)
                // Within the CPUs that the sandbox may use.
                puttingBack.act(at: notification)
                try lazy?.act(at: notification)
            }
        } catch {
            isAddressTaken = error.refusals.contains { $0.id == "address-in-use" }
            throw .cannotRestore(snapshot.id, error, room: Room.lacking(in: sandbox.directory)) {
                commands(of: snapshot.id)
            }
        }
        do throws(SystemError) {
            // A refusal right before the tree runs is not heeded, so it was ended.
            try lazy?.checkBegun()
            return RestoredTree(
                process: try SandboxProcess(pid: pid), warnings: puttingBack.warnings, filling: lazy?.filling)
        } catch {
            // It may live all the same: descriptors or memory have run out. It is our child, so the pid is still its own.
            Glibc.kill(pid, SIGKILL)
            waitpid(pid, nil, 0)
            throw ErrorMessage(
                .cannotRestore, "snapshot \(snapshot.id): its PID 1 ended right after the restore",
                cause: error.description)
        }
    }

    /// The commands of a snapshot's processes, as far as its image can be read.
    private func commands(of snapshot: String) -> [Int32: String] {
        guard let images = try? ImageDirectory(store.processPath(snapshot)),
            let processes = try? images.processes()
        else { return [:] }
        return Dictionary(processes.map { ($0.pid, $0.command) }, uniquingKeysWith: { first, _ in first })
    }

    /// Where what is mounted beside the root lies for the worker.
    static func externalsForRestore(_ root: RootFilesystem) -> [String] {
        root.submounts.map { "mnt[\($0.key)]:\($0.source)" }
    }
}
