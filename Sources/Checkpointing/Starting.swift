import Glibc
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

extension CheckpointManager {
    /// The base of a sandbox, with just the parts its record names.
    func view(of record: SandboxRecord) throws(ErrorMessage) -> BaseView {
        try view(of: record.spec, on: record.ground)
    }

    func view(of spec: SandboxSpec, on ground: Ground) throws(ErrorMessage) -> BaseView {
        let view: BaseView
        do throws(RuntimeError) { view = try bases.view(of: spec.base, initID: ground.initID) } catch {
            throw error.message
        }
        guard let kept = view.keeping(ground.parts) else {
            throw ErrorMessage(
                .cannotRestore, "the base \(spec.base) no longer has every directory it had: \(ground.parts)",
                hint: "bring the missing ones back on the host")
        }
        do throws(RuntimeError) { return try bases.furnish(kept, for: spec) } catch { throw error.message }
    }

    /// The same, once it is known that what the spec names on the host is there.
    func checkedView(of spec: SandboxSpec, on ground: Ground) throws(ErrorMessage) -> BaseView {
        let view = try view(of: spec, on: ground)
        do throws(RuntimeError) { try view.check(stateRoot: root) } catch { throw error.message }
        return view
    }

    func rootFilesystem(of sandbox: LiveSandbox, incarnation: Int, view: BaseView) -> RootFilesystem {
        RootFilesystem(
            sandboxDirectory: sandbox.directory, workspace: workspace, sandbox: sandbox.name,
            number: incarnation,
            view: view)
    }

    /// No number is used twice while this server lives: what is left of an incarnation is removed in the background, by
    /// its path, when another sandbox may bear the name already.
    func nextIncarnation() -> Int {
        incarnations.with { last in
            last += 1
            return last
        }
    }

    /// The directories of the sandbox's next incarnation; nothing is made yet.
    func nextRoot(of sandbox: LiveSandbox, view: BaseView) -> (root: RootFilesystem, incarnation: Int) {
        let incarnation = nextIncarnation()
        // From the second on each is to have a block group of its own; the first has the directory's.
        if sandbox.with({ $0.running != nil }) { try? Files.makeSpreadDirectory(sandbox.directory) }
        return (rootFilesystem(of: sandbox, incarnation: incarnation, view: view), incarnation)
    }

    /// What the commands of a sandbox are kept from.
    func walls(of spec: SandboxSpec) throws(ErrorMessage) -> SandboxWalls {
        do throws(RuntimeError) { return try SandboxWalls(spec) } catch { throw error.message }
    }

    /// Starts PID 1 at the base, with an empty writable layer. One that is new has no directory yet.
    func startFresh(
        _ sandbox: LiveSandbox, position: String?, isNew: Bool = false, fromSpare: Bool = true
    ) throws(ErrorMessage) {
        let record = sandbox.record
        let view = try checkedView(of: record.spec, on: record.ground)
        let walls = try walls(of: record.spec)
        if fromSpare, let kind = SpareKind(record.spec, on: record.ground), let spare = takeSpare(kind) {
            try adopt(spare, by: sandbox, view: view, position: position, isNew: isNew)
            sandbox.with { $0.isUntouched = true }
            return
        }
        if isNew { try makeDirectory(of: sandbox) }
        let (root, incarnation) = nextRoot(of: sandbox, view: view)
        let before = sandbox.with { ($0.running, $0.record, $0.wayOut) }
        var groups = SandboxGroups()
        var warnings: [String] = []
        let process: SandboxProcess
        do throws(RuntimeError) {
            let limits = record.spec.limits
            groups = try control.makeGroups(named: groupName(of: sandbox, incarnation), for: limits)
            warnings = try groups.apply(limits, in: control)
            process = try SandboxProcess.start(
                root: root, staging: bases.staging, hostname: record.spec.hostname ?? sandbox.name,
                walls: walls, spec: record.spec, groups: groups)
        } catch {
            groups.remove()
            removeRoot(root)
            throw error.message
        }
        do throws(ErrorMessage) {
            try leadOut(sandbox, to: process, record.spec)
        } catch {
            process.kill()
            _ = process.ended(within: 5000)
            groups.remove()
            removeRoot(root)
            leadOutAgain(sandbox, of: before.0, before.1, had: before.2)
            throw error
        }
        try takeOver(
            sandbox, process, in: groups, root: root, incarnation: incarnation, layers: [],
            position: position, warnings: warnings)
        sandbox.with { $0.isUntouched = true }
    }

    /// What the groups of an incarnation are called, among those of all sandboxes of this store.
    func groupName(of sandbox: LiveSandbox, _ incarnation: Int) -> String { "\(sandbox.name)-\(incarnation)" }

    /// Puts a freshly started or restored PID 1 in the place of whatever the sandbox had, and ends that.
    ///
    /// `other` is what it is made of from now on, where that changes. Who follows a command goes on following it
    /// where the new one knows it. When it throws the new one is gone
    /// and the old one stays.
    func takeOver(
        _ sandbox: LiveSandbox, _ process: SandboxProcess, in groups: SandboxGroups = SandboxGroups(),
        root: RootFilesystem, incarnation: Int, layers: [String], position: String?, warnings: [String] = [],
        as other: (spec: SandboxSpec, ground: Ground)? = nil, filling: MemoryFilling? = nil,
        on line: CommandChannel? = nil
    ) throws(ErrorMessage) {
        sandbox.noticeKills()
        let before = sandbox.with { ($0.running, $0.record) }
        do throws(ErrorMessage) {
            if (other?.spec ?? before.1.spec).net != .nat { closeWayOut(of: sandbox) }
            let moved = try moveChannel(of: before.0, to: process)
            let channel =
                if let moved { moved } else if let line { line } else { try connect(sandbox, process) }
            sandbox.with { state in
                state.running = LiveSandbox.Running(
                    process: process, channel: channel, root: root, groups: groups, isLarge: filling != nil,
                    filling: filling)
                state.isUntouched = false
                state.capture = nil
                state.following = FollowingLuck()
                state.warnings = warnings
                state.lastSample = nil
            }
            let wayOut = sandbox.with { $0.wayOut }
            try sandbox.update { record in
                record.state = .running
                record.process = process.identity
                record.wayOut = wayOut?.record
                record.incarnation = incarnation
                record.layers = layers
                record.position = position
                record.reason = nil
                record.warnings = warnings
                if let other { (record.spec, record.ground) = other }
            }
        } catch {
            sandbox.with { state in
                state.running = before.0
                state.record = before.1
            }
            if let old = before.0, !old.isPaused { _ = try? moveChannel(of: old, to: old.process) }
            leadOutAgain(sandbox, of: before.0, before.1, had: nil)
            process.kill()
            _ = process.ended(within: 5000)
            filling?.end()
            groups.remove()
            removeRoot(root)
            throw error
        }
        if let old = before.0 {
            end(old, of: before.1.spec, behind: old.isLarge || filling != nil)
        } else {
            removeOldRoots(of: sandbox)
        }
        sandbox.endStranger()
        if let filling { watch(filling, of: sandbox) }
        wakeLifeWatch()
        prepareTwins(of: sandbox, process)
    }

    /// Connects the line that a sandbox has to another PID 1; nil where it has none that works.
    private func moveChannel(
        of running: LiveSandbox.Running?, to process: SandboxProcess
    ) throws(ErrorMessage) -> CommandChannel? {
        guard let running else { return nil }
        let channel = running.channel
        if running.isPaused {
            channel.abandon(.rolledBack)
            return nil
        }
        let deadline = monotonicNanoseconds() + 10_000_000_000
        do throws(CommandError) { try channel.quiesce(deadline: deadline) } catch {
            channel.abandon(.rolledBack)
            return nil
        }
        do throws(CommandError) { try channel.resume(pid: process.pid, deadline: deadline) } catch {
            throw error.message
        }
        return channel
    }

    /// A line to PID 1 that is not open yet.
    func channel(of sandbox: LiveSandbox) -> CommandChannel {
        let channel = CommandChannel()
        tell(sandbox, of: channel)
        return channel
    }

    /// Has a sandbox told of what comes on a line.
    func tell(_ sandbox: LiveSandbox, of channel: CommandChannel) {
        let log = sandbox.log
        channel.tell { id, stream, bytes in
            log.append(exec: id, stream: stream.rawValue, bytes: bytes)
        } crashed: { [weak self, weak sandbox] crash in
            guard let self, let sandbox else { return }
            startThread { self.saveCrash(crash, of: sandbox) }
        }
    }

    /// Opens the line to PID 1.
    func connect(_ sandbox: LiveSandbox, _ process: SandboxProcess) throws(ErrorMessage) -> CommandChannel {
        let channel = channel(of: sandbox)
        do throws(CommandError) {
            try channel.connect(pid: process.pid, deadline: monotonicNanoseconds() + 10_000_000_000)
            return channel
        } catch {
            throw error.message
        }
    }

    /// Ends every process of an incarnation, and removes its writable layer in the background; all of it `behind` others
    /// where there is much memory.
    func end(_ running: LiveSandbox.Running, of spec: SandboxSpec, behind: Bool = false) {
        if behind { running.process.allStandBack() }
        let held = HeldNamespaces(of: running.process, spec)
        running.kill()
        startThread {
            _ = running.process.ended(within: -1)
            running.filling?.end()
            running.groups.remove()
            self.removeRoot(running.root, holding: held)
        }
    }

    func removeRoot(_ root: RootFilesystem, holding held: HeldNamespaces? = nil) {
        if Files.exists(root.upper) { discard(root.upper, holding: held) }
        if Files.exists(root.work) { discard(root.work) }
    }

    /// Removes what earlier incarnations left: one that was stopped or dead, or a server that was killed in between.
    @discardableResult
    func removeOldRoots(of sandbox: LiveSandbox) -> Int {
        var count = 0
        let incarnation = sandbox.record.incarnation
        let prefixes = ["upper-", "work-", MemoryFilling.prefix]
        for name in (try? Files.names(in: sandbox.directory)) ?? []
        where prefixes.contains(where: name.hasPrefix) && !name.hasSuffix("-\(incarnation)") {
            discard("\(sandbox.directory)/\(name)")
            count += 1
        }
        return count
    }
}
