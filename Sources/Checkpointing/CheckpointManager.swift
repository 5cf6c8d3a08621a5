import Criu
import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime
import SnapshotTree
public import Telemetry

/// Saves, restores, forks and resets sandboxes: the one engine behind every face of ckpt.
///
/// Calls are synchronous and may come on any number of threads. Operations on one sandbox wait for each other;
/// operations on different sandboxes do not.
public final class CheckpointManager: EngineOperations {
    /// The store's directory: that of the root, or of its pool.
    let root: String
    /// A tmpfs of the server's own, below the store.
    let workspace: String
    let store: SnapshotTree
    let bases: BaseViews
    let initProgram: InitProgram
    let registry = Monitor<[String: LiveSandbox]>([:])
    /// Where the kernel limits and counts what sandboxes use.
    let control: ControlGroups
    let gate = Monitor(DeletionGate())
    let spares = Monitor(SparePool())
    let workers = Monitor(WarmWorkers())
    let takers = Monitor(NoteTakers())
    let positions = Monitor(KnownPositions())
    let templates = Monitor(Templates())
    let known = Monitor(KnownPlans())
    /// Whether CRIU can be had to leave memory where it is, once that is known.
    let canLeaveMemory = Monitor(false)
    /// The highest number that an incarnation of any sandbox was given by this server.
    let incarnations = Monitor(0)
    let telemetry: Telemetry
    /// What makes a snapshot where the caller does not say.
    let engine: Engine
    /// ckpt's own program.
    let executable: String
    let lives = Monitor(LifeWatch())
    let putRight = Monitor(PutRight())
    /// Notes what is amiss and was mended, or could not be.
    let report: @Sendable (String) -> Void

    /// Opens the store at `root`, takes up every sandbox that still runs, and sweeps what a crash left.
    ///
    /// `root` is the directory that `Workplace.enter` told, `servedAs` the root that callers name.
    /// `executable` is ckpt's own path: ckpt-init and CRIU are found beside it. `durability` is kept in the store for
    /// later servers; nil is what was chosen before. `Workplace.enter` must have been called. `telemetry` is told what
    /// happens. `engine` makes snapshots where the caller does not say.
    public init(
        root: String, servedAs served: String, executable: String, durability: Durability? = nil,
        engine: Engine = .criu, telemetry: Telemetry
    ) throws(ErrorMessage) {
        self.root = root
        self.engine = engine
        self.executable = executable
        self.telemetry = telemetry
        report = { telemetry.log.write(.warning, $0) }
        workspace = "\(root)/runtime"
        control = ControlGroups(store: ControlGroups.storeName(root: served))
        do throws(RuntimeError) {
            let override = getenv("CKPT_INIT").map { String(cString: $0) }
            initProgram = try InitProgram(executable: executable, stateRoot: root, override: override)
            bases = try BaseViews(workspace: workspace, stateRoot: root, initProgram: initProgram)
        } catch { throw error.message }
        var settings = ServerSettings(root: root, report: report)
        try settings.choose(durability: durability, root: root)
        do throws(SnapshotTreeError) {
            store = try SnapshotTree(
                root: root, durability: settings.durability ?? .standard, report: report,
                watchMerge: Self.tellMerges(telemetry))
        } catch { throw error.message }
        tellRecovery()
        spreadSandboxes()
        takeUpSandboxes()
        watchLives()
        provideNumbers()
        primeCriu()
    }

    /// Throws what would keep a server of this version from serving a root; changes nothing but the copy of ckpt-init in
    /// the store.
    public static func checkPrerequisites(root: String, executable: String) throws(ErrorMessage) {
        if let format = try? Files.read("\(root)/format"), format != Array("\(Product.storeFormat)\n".utf8) {
            let found = String(decoding: format, as: UTF8.self).split(separator: "\n").first ?? ""
            throw ErrorMessage(
                .versionMismatch,
                "the store \(root) has format \(found), this ckpt reads \(Product.storeFormat)",
                hint: "keep the version of ckpt that it was made with")
        }
        do throws(CriuError) { _ = try CriuBinary.find() } catch {
            throw ErrorMessage(.internal, error.message, hint: error.hint)
        }
        do throws(RuntimeError) {
            let override = getenv("CKPT_INIT").map { String(cString: $0) }
            _ = try InitProgram(executable: executable, stateRoot: root, override: override)
        } catch { throw error.message }
    }

    /// Ends what is the server's own and waits until every snapshot is durable; for the server's end.
    public func finish() {
        stopWatchingLives()
        for sandbox in all { sandbox.twins?.awaitWriting() }
        closeSpares()
        closeWorkers()
        store.endCompaction()
        sweepGroups()
        store.close()
    }

    /// Each sandbox's writable layer gets room of its own on disk.
    private func spreadSandboxes() {
        do throws(SystemError) { try Files.makeSpreadDirectory("\(root)/sandboxes") } catch {
            report("\(error)")
        }
    }

    /// Has CRIU probe the kernel before anybody waits for it.
    private func primeCriu() {
        startThread {
            do throws(CriuError) {
                if try !self.criu().prime() {
                    self.report("CRIU cannot keep what it probed: /run is no tmpfs")
                }
                let can = try self.criu().letMemoryBeLeft(copy: "\(self.workspace)/criu.kdat")
                self.canLeaveMemory.with { $0 = can }
                _ = SandboxNames.freshSettings
            } catch {
                self.report("CRIU: \(error)")
            }
        }
    }

    /// The sandbox of that name.
    func find(_ name: String) throws(ErrorMessage) -> LiveSandbox {
        store.asked.with { $0 = monotonicNanoseconds() }
        guard let sandbox = registry.with({ $0[name] }) else { throw .unknownSandbox(name) }
        return sandbox
    }

    /// Every sandbox, by name.
    var all: [LiveSandbox] {
        registry.with { $0.values.sorted { $0.name < $1.name } }
    }

    func directory(of name: String) -> String { "\(root)/sandboxes/\(name)" }

    /// The snapshot a reference means; a sandbox's name means the one it stands on.
    func resolve(_ reference: String) throws(ErrorMessage) -> SnapshotTree.Record {
        try checkDurable(reference)
        do throws(SnapshotTreeError) {
            return try store.resolve(reference: reference) { name in
                self.registry.with { $0[name] }?.positionOnDisk
            }
        } catch {
            if let sandbox = registry.with({ $0[reference] }), sandbox.record.position == nil {
                throw ErrorMessage(
                    .unknownSnapshot, "sandbox \(reference) stands at its base: it has never been saved",
                    hint: "ckpt save \(reference) makes a snapshot")
            }
            throw error.message
        }
    }

    /// For each snapshot, the sandboxes that stand on it.
    func standing() -> [String: [String]] {
        var standing: [String: [String]] = [:]
        for sandbox in all {
            if let position = sandbox.record.position { standing[position, default: []].append(sandbox.name) }
        }
        return standing
    }

    /// The layers that a sandbox has mounted or would start from.
    func layersInUse() -> Set<String> {
        Set(
            all.flatMap { sandbox in sandbox.with { $0.record.layers + ($0.capture.map { [$0.layer] } ?? []) }
            })
    }

    /// Finds the sandboxes of an earlier server: those whose PID 1 still lives run on.
    private func takeUpSandboxes() {
        let names = (try? Files.names(in: "\(root)/sandboxes")) ?? []
        for name in names where !name.hasPrefix(".") {
            guard let record = SandboxRecord(readingFrom: directory(of: name)) else {
                mended("the creation of sandbox \(name) was cut short; removed", sandbox: name)
                discard(directory(of: name))
                continue
            }
            let sandbox = LiveSandbox(
                record: record, directory: directory(of: name), isDurable: store.durability == .always,
                telemetry: telemetry)
            registry.with { $0[name] = sandbox }
            incarnations.with { $0 = max($0, record.incarnation) }
            takeUp(sandbox, record)
        }
        endOrphans()
        sweepGroups()
        sweepSpares(in: names)
        sweepStore()
    }

    /// Removes what a killed server left in the store that nothing refers to: the layer of a snapshot that it was
    /// deleting. Not where a snapshot is damaged, for which layers it needs may be what cannot be read.
    private func sweepStore() {
        if store.recovery.lastEndedInOrder || !store.recovery.damaged.isEmpty { return }
        do throws(SnapshotTreeError) {
            let swept = try store.gc(layersInUse: layersInUse())
            if swept.removed.isEmpty { return }
            let named =
                swept.removed.prefix(8).joined(separator: ", ") + (swept.removed.count > 8 ? ", …" : "")
            mended(
                "store: what nothing refers to was removed, \(swept.freedBytes) bytes (\(named))",
                count: swept.removed.count, bytes: swept.freedBytes)
        } catch {
            report("what nothing refers to stays in the store: \(error)")
        }
    }

    private func takeUp(_ sandbox: LiveSandbox, _ record: SandboxRecord) {
        if removeOldRoots(of: sandbox) > 0 {
            mended(
                "sandbox \(sandbox.name): the files of an unfinished start were removed",
                sandbox: sandbox.name)
        }
        guard record.state == .running else { return }
        do throws(ErrorMessage) {
            let found = record.process.flatMap { SandboxProcess($0) }
            let filling = try takeUpFilling(of: sandbox, record, found)
            guard let process = found else {
                throw ErrorMessage(.wrongState, "its PID 1 ended while no server ran")
            }
            let view = try view(of: record)
            let root = rootFilesystem(of: sandbox, incarnation: record.incarnation, view: view)
            let groups = SandboxGroups(of: process.pid, in: control)
            let isPaused = groups.isFrozen
            let channel = channel(of: sandbox)
            if !isPaused { try connect(channel, of: sandbox, to: process) }
            sandbox.with { state in
                state.running = LiveSandbox.Running(
                    process: process, channel: channel, root: root, groups: groups, isPaused: isPaused,
                    filling: filling, oomKillsTold: groups.oomKills ?? 0)
                state.warnings = record.warnings ?? []
            }
            takeUpWayOut(of: sandbox, record, process)
            if let filling { watch(filling, of: sandbox) }
            runsOn(sandbox, process.pid, isPaused: isPaused)
        } catch {
            // It is as well as it was: the next server may be the right one for it again.
            if error.code == .versionMismatch, let process = record.process.flatMap({ SandboxProcess($0) }) {
                sandbox.with { $0.stranger = (process, error) }
                return report("sandbox \(sandbox.name) is left alone: \(error.message)")
            }
            foundDead(sandbox, error.message)
            if let left = record.wayOut { WayOut.end(left) }
            try? sandbox.update { record in
                record.state = .dead
                record.process = nil
                record.reason = error.message
            }
        }
    }

    /// A sandbox whose PID 1 cannot be spoken to just now lives all the same: whoever needs it next tries again.
    /// Throws `version_mismatch`, which no further try would mend.
    private func connect(
        _ channel: CommandChannel, of sandbox: LiveSandbox, to process: SandboxProcess
    ) throws(ErrorMessage) {
        do throws(CommandError) {
            try channel.connect(pid: process.pid, deadline: monotonicNanoseconds() + 10_000_000_000)
        } catch {
            if error.message.code == .versionMismatch { throw error.message }
            // It was on its way out, and its control groups could not be told any more (proc_cgroup_show in the
            // kernel's kernel/cgroup/cgroup.c).
            if case .disconnected = error, process.ended(within: 1000) {
                throw ErrorMessage(.wrongState, "its PID 1 ended while no server ran")
            }
            channel.abandon(error)
            report("sandbox \(sandbox.name): no line to its PID 1: \(error.message.description)")
        }
    }

    /// Takes files out of the way at once and removes them behind the caller's back.
    func discard(_ path: String, holding held: HeldNamespaces? = nil) {
        do throws(SnapshotTreeError) { try store.discard(path, holding: held) } catch {
            report("\(path) could not be removed: \(error.message.description)")
        }
    }
}
