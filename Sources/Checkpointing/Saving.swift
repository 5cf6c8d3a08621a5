import Criu
import CriuImages
import FoundationEssentials
import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime
import SnapshotTree

extension CheckpointManager {
    /// Longest that a dump may take, in nanoseconds: far beyond any sandbox that fits this machine's memory.
    static let dumpLimit: UInt64 = 600_000_000_000

    /// Makes a snapshot of a running sandbox, which goes on running unless told to stop.
    ///
    /// The filesystem is captured while CRIU holds every process still. Whatever fails, and when the caller goes
    /// away, the sandbox runs on and nothing is left of the attempt.
    public func save(
        _ name: String, _ request: SaveRequest, cancelled: Cancellation
    ) throws(ErrorMessage) -> SnapshotInfo {
        try save(name, request, crash: nil, cancelled: cancelled)
    }

    /// The same for a crash of one of its processes.
    func save(
        _ name: String, _ request: SaveRequest, crash: CrashInfo?, cancelled: Cancellation
    ) throws(ErrorMessage) -> SnapshotInfo {
        let start = monotonicNanoseconds()
        let sandbox = try find(name)
        if let tag = request.tag {
            try mapping { () throws(SnapshotTreeError) in try store.checkTagFree(tag) }
        }
        return try sandbox.exclusively { () throws(ErrorMessage) in
            try working("save", on: sandbox) { () throws(ErrorMessage) in
                try awaitMemory(of: sandbox, cancelled)
                let running = try sandbox.running(for: "save", evenPaused: true)
                let wish = twinWish(request, crash)
                var obstacle = wish.obstacle
                if wish.isWanted, obstacle == nil {
                    switch try saveTwin(sandbox, running, request, start: start) {
                    case .made(let info): return info
                    case .refused(let why): obstacle = why
                    }
                }
                let ended = endTwins(of: sandbox)
                func attempt() throws(ErrorMessage) -> SaveAttempt {
                    let staging = try mapping { () throws(SnapshotTreeError) in try store.stage() }
                    let attempt = SaveAttempt(
                        sandbox: sandbox, running: running, staging: staging, request: request, crash: crash,
                        start: start, cancelled: cancelled)
                    if let ended { attempt.warnings.append(ended) }
                    return attempt
                }
                var current = try attempt()
                var made: SnapshotInfo?
                while made == nil {
                    do throws(ErrorMessage) { made = try make(current) } catch {
                        // Another one would need more room than this.
                        guard error.code != .noSpace else { throw error }
                        try current.checkCancelled()
                        let failed = current
                        current = try attempt()
                        try takeUp(current, after: failed, error)
                    }
                }
                var info = made!
                if wish.isWanted { (info.engine, info.engineReason) = (.criu, obstacle) }
                return info
            }
        }
    }

    /// Prepares a save to do without what made another one fail; throws `error` where it failed for something else.
    private func takeUp(
        _ attempt: SaveAttempt, after failed: SaveAttempt, _ error: ErrorMessage
    ) throws(ErrorMessage) {
        (attempt.mayNotFollow, attempt.leavesAllToCriu) = (failed.mayNotFollow, failed.leavesAllToCriu)
        if let found = failed.foundLate {
            (attempt.mayNotFollow, attempt.followObstacle) = (true, found)
        } else if let problem = failed.problem, !failed.leavesAllToCriu {
            // Whatever it was: the next save has a fresh one.
            if failed.left != nil { removeStandIn(of: attempt.sandbox) }
            report("sandbox \(attempt.sandbox.name): saved once more, all of it by CRIU: \(problem)")
            attempt.leavesAllToCriu = true
        } else {
            store.abandon(attempt.staging)
            throw error
        }
    }

    private func make(_ attempt: SaveAttempt) throws(ErrorMessage) -> SnapshotInfo {
        prepareTaking(attempt)
        defer { attempt.waitUntilResumed() }
        do throws(ErrorMessage) {
            return try usingWorkers { () throws(ErrorMessage) in
                try attempt.stops ? saveAndStop(attempt) : saveAndGoOn(attempt)
            }
        } catch {
            // Nobody may write into what is removed.
            _ = try? attempt.finishFollowing()
            store.abandon(attempt.staging)
            throw error
        }
    }

    private func saveAndGoOn(_ attempt: SaveAttempt) throws(ErrorMessage) -> SnapshotInfo {
        var captured: CapturedUpper?
        let before = predecessor(attempt)
        try quietly(attempt) { () throws(ErrorMessage) in
            if let before {
                let isMade = try followUp(attempt, before) { () throws(ErrorMessage) in
                    captured = try capture(attempt, imagesIn: before.path)
                }
                if isMade { return }
            }
            try dump(attempt) { (_) throws(ErrorMessage) in
                captured = try capture(attempt, imagesIn: attempt.staging.processPath)
            }
        }
        if attempt.followed == nil { tellObstacle(attempt) }
        try attempt.checkCancelled()
        let info = try publishAndStand(attempt, captured!)
        attempt.sandbox.with { $0.capture = captured }
        readAhead(info.id)
        if attempt.followed != nil { attempt.sandbox.with { $0.following.note(refused: false) } }
        tellSave(info, crash: attempt.crash)
        return info
    }

    /// Nobody can delete the snapshot between its publication and the sandbox's standing on it.
    private func publishAndStand(
        _ attempt: SaveAttempt, _ captured: CapturedUpper
    ) throws(ErrorMessage) -> SnapshotInfo {
        try sharing { () throws(ErrorMessage) in
            var info = try publish(attempt, captured)
            // The snapshot is there, whatever becomes of the record.
            if let warning = note(attempt.sandbox, { $0.position = info.id }) {
                info.warnings = (info.warnings ?? []) + [warning]
            }
            return info
        }
    }

    /// The snapshot is published while everything stands still: if that fails nothing was ended yet.
    private func saveAndStop(_ attempt: SaveAttempt) throws(ErrorMessage) -> SnapshotInfo {
        var info: SnapshotInfo?
        attempt.sandbox.with { $0.isEnding = true }
        defer { attempt.sandbox.with { $0.isEnding = false } }
        do throws(ErrorMessage) {
            try quietly(attempt) { () throws(ErrorMessage) in
                try dump(attempt) { (notification) throws(ErrorMessage) in
                    let captured = try capture(attempt, imagesIn: attempt.staging.processPath)
                    try attempt.checkCancelled()
                    // Had CRIU ended meanwhile, the processes would have run on beneath the capture.
                    guard notification.isWorkerAlive else {
                        throw ErrorMessage(.internal, "CRIU ended while everything stood still")
                    }
                    info = try publishAndStand(attempt, captured)
                }
            }
        } catch {
            // All that CRIU had left to do is to end what is ended below.
            guard info != nil else { throw error }
        }
        tellSave(info!, crash: attempt.crash)
        attempt.waitUntilResumed()
        stop(attempt.sandbox, attempt.running, by: "save")
        return info!
    }

    /// Does something while there is no line to PID 1.
    private func quietly(_ attempt: SaveAttempt, _ body: () throws(ErrorMessage) -> Void) throws(ErrorMessage)
    {
        try quiesce(attempt)
        defer {
            if !attempt.stops || attempt.running.process.isAlive { beginResuming(attempt) }
        }
        try body()
    }

    /// Has CRIU dump the tree, and calls `frozen` while every process stands still.
    private func dump(
        _ attempt: SaveAttempt, frozen: (CriuNotification) throws(ErrorMessage) -> Void
    ) throws(ErrorMessage) {
        leaveMemory(attempt)
        let network = try opening { () throws(SystemError) in try attempt.running.process.networkNamespace() }
        let images = try opening { () throws(SystemError) in
            try Descriptor.open(attempt.staging.processPath, O_RDONLY | O_DIRECTORY)
        }
        let work = try opening { () throws(SystemError) in
            if attempt.stops { try Files.makeDirectory(attempt.workPath) }
            return try Descriptor.open(attempt.workPath, O_RDONLY | O_DIRECTORY)
        }
        let began = monotonicNanoseconds()
        var request = DumpRequest(
            pid: attempt.running.process.pid, leaveRunning: !attempt.stops,
            external: Self.externalsForDump(attempt.running.root),
            searched: Self.searchedForWatches(attempt.running.process),
            closesConnections: attempt.sandbox.record.spec.net == .host,
            frozenGroup: attempt.running.isPaused ? attempt.running.groups.frozenDirectory : nil,
            deadline: began + Self.dumpLimit)
        request.leavesWorker = true
        request.leftTo = attempt.left?.standIn
        let inspection = attempt.inspect()
        attempt.sandbox.dumping(attempt.running.process, into: attempt.staging.processPath)
        attempt.leavesNames = mayLeaveNames(attempt)
        do throws(CriuError) {
            let worker = try dumper(of: attempt.running.process, in: network, names: &attempt.leavesNames)
            attempt.lookAtNames()
            try worker.dump(request, into: images, work: work) { notification in
                if notification.moment == .preDump {
                    try attempt.checkInspection(inspection)
                    try attempt.checkNames()
                }
                guard notification.moment == .postDump else { return }
                attempt.timings.criuMs = milliseconds(since: began)
                attempt.hostBoottime = secondsSinceBoot()
                // First, for whatever fails from here on, the processes run on; and --stop publishes within.
                try attempt.lookAtThreads()
                attempt.mendInterruptedCalls(worker: notification.worker, report)
                attempt.lookAtSignals(worker: notification.worker, report)
                try attempt.lookAtOpenFiles()
                try attempt.checkCancelled()
                try attempt.takeNames()
                try takeMemory(attempt)
                try attempt.checkCancelled()
                let instant = monotonicNanoseconds()
                try frozen(notification)
                attempt.timings.filesystemMs = milliseconds(since: instant)
            } meanwhile: { notification in
                guard notification.moment == .frozen else { return }
                attempt.lookAtNames()
                attempt.noteWhatIsLost()
                attempt.findHosts()
            }
        } catch {
            // CRIU may have had enough of what it was told, or met objects that came late.
            if attempt.left != nil || attempt.leavesNames, error.kind == .dumpFailed,
                error.refusals.isEmpty || attempt.foundObjects
            {
                attempt.problem = error.evidence ?? error.description
            }
            throw .cannotSave(attempt.sandbox.name, error, room: Room.lacking(in: attempt.staging.path))
        }
    }

    /// Makes the images of CRIU's fit for a restore anywhere.
    private func complete(
        _ images: borrowing ImageDirectory, _ attempt: SaveAttempt
    ) throws(CriuImageError) {
        if attempt.sandbox.record.spec.net != .host {
            try images.giveTreeItsOwnNetwork(and: attempt.names)
        }
        try images.add(attempt.later)
        try attempt.mendCalls(in: images)
        try images.keepTimersGoing(fired: attempt.firedTimers)
    }

    /// Has CRIU dump a sandbox for others to be saved after it: its files are left out, and nothing is published.
    func dumpImages(_ attempt: SaveAttempt) throws(ErrorMessage) {
        defer { attempt.waitUntilResumed() }
        try usingWorkers { () throws(ErrorMessage) in
            try quietly(attempt) { () throws(ErrorMessage) in
                try dump(attempt) { (_) throws(ErrorMessage) in }
            }
        }
        do throws(CriuImageError) {
            try complete(try ImageDirectory(attempt.staging.processPath), attempt)
        } catch {
            throw ErrorMessage(.internal, "the process image cannot be read back", cause: error.description)
        }
    }

    /// Closes the line to PID 1; that of a paused sandbox is closed.
    private func quiesce(_ attempt: SaveAttempt) throws(ErrorMessage) {
        if attempt.running.isPaused { return }
        do throws(CommandError) {
            try attempt.running.channel.quiesce(deadline: monotonicNanoseconds() + Self.commandPatience)
        } catch { throw error.message }
    }

    /// Makes the sandbox what it was before, on a thread of its own: what was dumped is looked into meanwhile.
    private func beginResuming(_ attempt: SaveAttempt) {
        let (name, running) = (attempt.sandbox.name, attempt.running)
        attempt.resuming = Meanwhile { () throws(Never) in self.resume(name, running) }
    }

    private func resume(_ name: String, _ running: LiveSandbox.Running) {
        if running.isPaused {
            do throws(RuntimeError) { try running.groups.freeze() } catch {
                report("sandbox \(name): not paused again after a save: \(error.message)")
            }
            return
        }
        do throws(CommandError) {
            try running.channel.resume(
                pid: running.process.pid, deadline: monotonicNanoseconds() + Self.commandPatience)
        } catch {
            // Who asks next is told why at once, and does not wait for a line that never comes.
            running.channel.abandon(error)
            report("sandbox \(name): no line to its PID 1 after a save: \(error.message.description)")
        }
    }

    /// Reads what CRIU tells of the dump and makes the images fit for a restore anywhere.
    private func publish(_ attempt: SaveAttempt, _ captured: CapturedUpper) throws(ErrorMessage)
        -> SnapshotInfo
    {
        let began = monotonicNanoseconds()
        let record = attempt.sandbox.record
        var processes = 0
        do throws(CriuImageError) {
            let images = try ImageDirectory(attempt.staging.processPath)
            if let followed = attempt.followed {
                (processes, attempt.timings.frozenMs) = (followed.processes, attempt.frozenMs)
            } else {
                try complete(images, attempt)
                processes = try images.processCount()
                if !attempt.stops { attempt.timings.frozenMs = try images.dumpStatistics()?.frozen }
            }
        } catch {
            throw ErrorMessage(.internal, "the process image cannot be read back", cause: error.description)
        }
        let network = NetworkSettings.changes(in: attempt.running.process.pid)
        if attempt.followed == nil, let work = try? Descriptor.open(attempt.workPath, O_RDONLY | O_DIRECTORY)
        {
            attempt.warnings += KnownLoss.losses(in: work, tree: attempt.tree)
        }
        var known = KnownDigests()
        attempt.sandbox.phase("comparing memory")
        let memory = try shareMemory(attempt, parent: record.position, &known)
        known.processLinks.merge(try attempt.finishFollowing()) { $1 }
        if let unchanged = attempt.unchanged { known.add(unchangedIn: unchanged.layer, unchanged.captured) }
        attempt.lost.network = network()
        try attempt.lost.write(to: attempt.staging.processPath)
        attempt.timings.totalMs = milliseconds(since: attempt.start)
        let manifest = Self.manifest(
            attempt, parent: record.position, layers: record.layers + [captured.layer], processes, memory)
        // What of it has to be read is found out meanwhile.
        let read = WorkCount()
        attempt.sandbox.phase("publishing", in: .bytes) { (read.value, nil) }
        var info = try mapping { () throws(SnapshotTreeError) in
            try store.publish(
                attempt.staging, manifest: manifest, tag: attempt.request.tag, known: known,
                durability: attempt.request.durability, counting: read)
        }
        attempt.timings.publishMs = milliseconds(since: began)
        attempt.timings.totalMs = milliseconds(since: attempt.start)
        info.timings = attempt.timings
        info.standing = [record.name]
        if !attempt.warnings.isEmpty { info.warnings = attempt.warnings }
        return info
    }

    /// What a snapshot's manifest says when it is published.
    static func manifest(
        _ attempt: SaveAttempt, parent: String?, layers: [String], _ processes: Int, _ memory: MemoryInfo
    ) -> Manifest {
        let (record, machine) = (attempt.sandbox.record, Machine.current)
        var manifest = Manifest(
            parent: parent, sandbox: record.name, created: attempt.created, message: attempt.request.message,
            spec: record.spec, layers: layers, processes: processes, timings: attempt.timings,
            architecture: Host.architecture, kernel: Host.kernel, criu: CriuPin.version.description,
            engine: record.ground.encoded, memory: memory, cpu: machine.model, cpuFeatures: machine.features)
        manifest.hostBoottime = attempt.hostBoottime
        manifest.crash = attempt.crash
        return manifest
    }

    /// What is mounted beside the root, which CRIU is to leave to us.
    static func externalsForDump(_ root: RootFilesystem) -> [String] {
        root.submounts.map { "mnt[/\($0.path)]:\($0.key)" }
    }

    /// The top of a sandbox's tree as CRIU shall search it for what is watched: the large directories of programs
    /// come last, and those of the kernel not at all.
    private static func searchedForWatches(_ process: SandboxProcess) -> [String] {
        let kernels: Set = ["proc", "sys", "dev"], programs: Set = ["usr", "opt", "nix", "gnu"]
        let names = (try? Files.names(in: "/proc/\(process.pid)/root")) ?? []
        return names.filter { !kernels.contains($0) }
            .sorted { (programs.contains($0) ? 1 : 0, $0) < (programs.contains($1) ? 1 : 0, $1) }
            .map { "/\($0)" }
    }

}
