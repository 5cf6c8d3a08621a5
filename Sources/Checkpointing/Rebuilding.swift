import CriuImages
import Glibc
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree
import Telemetry
import Twins

/// Which snapshots may be rebuilt, and the plans for some.
struct KnownPlans {
    /// So many plans are kept, of some 50 kB each.
    private static let mostPlans = 32
    private static let mostSnapshots = 4096

    private struct Snapshot {
        /// When its programs were last known to be those that its processes have mapped; nil is when it was saved.
        var checked: ClockTime?
        var refusals = 0
        var isLeftToCriu = false
    }

    private var snapshots: [String: Snapshot] = [:]
    private var order: [String] = []
    private var plans: [(snapshot: String, memory: MemoryMode, plan: RebuildPlan)] = []

    /// It was saved by this server.
    mutating func noteSaved(_ snapshot: String) { change(snapshot) { _ in } }

    /// CRIU, which compares programs with those that were mapped, has restored it since `time`.
    mutating func noteRestored(_ snapshot: String, since time: ClockTime) {
        change(snapshot) { known in
            known.checked = time
            // What was refused for a program that had changed is to be tried again: once.
            known.isLeftToCriu = known.refusals > 1
        }
        plans.removeAll { $0.snapshot == snapshot }
    }

    /// CRIU is to restore it the next time.
    mutating func noteRefused(_ snapshot: String) {
        change(snapshot) { known in
            known.refusals += 1
            known.isLeftToCriu = true
        }
        plans.removeAll { $0.snapshot == snapshot }
    }

    /// Another one may come to have the id.
    mutating func forget(_ snapshot: String) {
        snapshots[snapshot] = nil
        order.removeAll { $0 == snapshot }
        plans.removeAll { $0.snapshot == snapshot }
    }

    private mutating func change(_ snapshot: String, _ body: (inout Snapshot) -> Void) {
        if snapshots[snapshot] == nil { order.append(snapshot) }
        body(&snapshots[snapshot, default: Snapshot()])
        if order.count > Self.mostSnapshots { snapshots[order.removeFirst()] = nil }
    }

    /// Whether a snapshot may be rebuilt, and since when its programs must not have changed.
    func check(_ snapshot: String) -> (mayBe: Bool, checked: ClockTime?) {
        guard let known = snapshots[snapshot], !known.isLeftToCriu else { return (false, nil) }
        return (true, known.checked)
    }

    /// The plan for a snapshot, which is the last to be forgotten then.
    mutating func find(_ snapshot: String, _ memory: MemoryMode) -> RebuildPlan? {
        guard let index = plans.firstIndex(where: { $0.snapshot == snapshot && $0.memory == memory })
        else { return nil }
        let found = plans.remove(at: index)
        plans.append(found)
        return found.plan
    }

    mutating func keep(_ plan: RebuildPlan, for snapshot: String, _ memory: MemoryMode) {
        plans.removeAll { $0.snapshot == snapshot && $0.memory == memory }
        if plans.count >= Self.mostPlans { plans.removeFirst() }
        plans.append((snapshot, memory, plan))
    }
}

/// Why a snapshot's processes were not made anew; nothing of them is left.
private enum RebuildError: Error {
    /// It will go no better the next time.
    case refused(String)
    case failed(String)
    /// CRIU could do it no better.
    case hopeless(ErrorMessage)
}

extension CheckpointManager {
    /// How a snapshot's processes are made anew without CRIU; nil where CRIU has to.
    func rebuildPlan(
        for snapshot: SnapshotTree.Record, in sandbox: LiveSandbox, _ view: BaseView, _ memory: MemoryMode
    ) -> RebuildPlan? {
        let spec = snapshot.spec
        // What is in memory-backed directories is put there for CRIU.
        guard rootFilesystem(of: sandbox, incarnation: 0, view: view).tmpfs.isEmpty else { return nil }
        let (mayBe, checked) = known.with { $0.check(snapshot.id) }
        guard mayBe, spec.net != .host, spec.security.capabilities & Capability.mask(["SYS_ADMIN"]) == 0
        else { return nil }
        if let plan = known.with({ $0.find(snapshot.id, memory) }) { return plan }
        let path = store.processPath(snapshot.id)
        do throws(FollowUpRefusal) {
            let images = try Predecessor(in: path)
            let late: LazyMemory?
            do throws(SystemError) { late = try lateMemory(of: snapshot, memory) } catch {
                throw FollowUpRefusal(error.description)
            }
            let plan = try RebuildPlan(images, checked: checked ?? images.written, late: late)
            guard (try? LostState(readingFrom: path))?.isEmpty == true, plan.domainname == Self.ownDomainname
            else { throw FollowUpRefusal("it has attributes of its own") }
            known.with { $0.keep(plan, for: snapshot.id, memory) }
            return plan
        } catch {
            leaveToCriu(snapshot.id, error.description)
            return nil
        }
    }

    private static let ownDomainname: String = {
        var names = utsname()
        uname(&names)
        return withUnsafeBytes(of: names.domainname) {
            String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
    }()

    private func leaveToCriu(_ snapshot: String, _ why: String, _ level: LogLevel = .debug) {
        known.with { $0.noteRefused(snapshot) }
        telemetry.log.write(level, "snapshot \(snapshot): restored by CRIU: \(why)")
    }

    /// Makes a snapshot's processes anew in a fresh sandbox and puts it in the place of what the sandbox has; false where
    /// that came to nothing. Nothing has changed then, nor where it throws: there is no room, for CRIU neither.
    func rebuild(
        _ snapshot: SnapshotTree.Record, by plan: RebuildPlan, in sandbox: LiveSandbox, view: BaseView,
        ground: Ground
    ) throws(ErrorMessage) -> Bool {
        let mounted = try mapping { () throws(SnapshotTreeError) in try store.layersToMount(of: snapshot) }
        let (root, incarnation) = nextRoot(of: sandbox, view: view)
        let before = sandbox.with { ($0.running, $0.record, $0.wayOut) }
        let limited = try LimitedRestore(
            snapshot.spec.limits, named: groupName(of: sandbox, incarnation), in: control)
        let process: SandboxProcess
        let filling: MemoryFilling?
        do throws(RebuildError) {
            (process, filling) = try start(
                snapshot.spec, by: plan, in: sandbox, root: root, incarnation,
                over: mounted.reversed().map { store.layerPath($0) }, limited)
        } catch {
            limited.groups.remove()
            removeRoot(root)
            leadOutAgain(sandbox, of: before.0, before.1, had: before.2)
            switch error {
            case .refused(let why): leaveToCriu(snapshot.id, why, .info)
            case .failed(let why):
                telemetry.log.write(.info, "snapshot \(snapshot.id): restored by CRIU this time: \(why)")
            case .hopeless(let error): throw error
            }
            return false
        }
        try takeOver(
            sandbox, process, in: limited.groups, root: root, incarnation: incarnation, layers: mounted,
            position: snapshot.id, warnings: limited.warnings, as: (snapshot.spec, ground), filling: filling)
        return true
    }

    /// Starts a PID 1 and has it become the snapshot's tree, which runs then; also what brings the rest of its memory.
    private func start(
        _ spec: SandboxSpec, by plan: RebuildPlan, in sandbox: LiveSandbox, root: RootFilesystem,
        _ incarnation: Int, over layers: [String], _ limited: LimitedRestore
    ) throws(RebuildError) -> (SandboxProcess, MemoryFilling?) {
        let process: SandboxProcess
        var pager: Pager?
        var device: Descriptor?
        do throws(SystemError) {
            if let late = plan.late {
                pager = try Pager(late, directory: sandbox.directory, incarnation: incarnation)
                device = try Descriptor.open("/dev/userfaultfd", O_RDWR)
            }
        } catch { throw .failed("its memory cannot come in behind: \(error)") }
        do throws(RuntimeError) {
            process = try SandboxProcess.start(
                root: root, over: layers, clocks: Self.offsets(for: plan), staging: bases.staging,
                hostname: plan.hostname, walls: SandboxWalls(spec), spec: spec, groups: limited.groups,
                device: device?.raw ?? -1)
        } catch {
            let message = error.message
            throw message.code == .noSpace ? .hopeless(message) : .failed(message.description)
        }
        var filling: MemoryFilling?
        do throws(RebuildError) {
            try fill(process, by: plan) { (userFaults) throws(SystemError) in
                filling = try pager?.begin(
                    root: process.pid, userFaults, directory: sandbox.directory, incarnation: incarnation)
            } standing: { () throws(ErrorMessage) in
                try limited.applyLimits()
                try leadOut(sandbox, to: process, spec)
            }
            return (process, filling)
        } catch {
            filling?.end()
            process.kill()
            _ = process.ended(within: 5000)
            throw error
        }
    }

    /// Has a fresh PID 1 become the snapshot's tree, which runs on after `standing`. `serve` gets the userfaultfds of the
    /// processes whose memory comes in behind.
    private func fill(
        _ process: SandboxProcess, by plan: RebuildPlan, serve: ([UserFault]) throws(SystemError) -> Void,
        standing: () throws(ErrorMessage) -> Void
    ) throws(RebuildError) {
        guard let ground = plan.ground(of: process.pid) else {
            throw .failed("what the kernel has mapped is in the way")
        }
        guard let taker = borrowTaker(patience: Self.patienceForTaker) else {
            throw .failed("nobody can be had to make processes")
        }
        var failure: RebuildError?
        do throws(TwinError) {
            let pids = try taker.rebuild(
                from: process.pid, script: plan.script(on: ground), notes: plan.notes, place: plan.place,
                room: plan.room)
            failure = Self.prepare(pids, by: plan, serve)
            if failure == nil {
                try taker.finishRebuilding()
                do throws(ErrorMessage) { try standing() } catch { failure = .failed(error.description) }
            }
            if failure == nil { try taker.go() } else { try taker.dropRebuilt() }
            giveBack(taker)
        } catch {
            switch error {
            case .refused(let why):
                failure = .refused(why)
                giveBack(taker)
            case .broken(let why):
                failure = .failed(why)
                giveBack(nil)
            }
        }
        if let failure { throw failure }
    }

    /// In nanoseconds; to start another one takes 10 ms, and one that works is done in 5.
    private static let patienceForTaker: UInt64 = 50_000_000

    /// Fills the memory of processes that stand still, by their host's pids, and what else is done from outside; why that
    /// failed.
    private static func prepare(
        _ pids: [Int32], by plan: RebuildPlan, _ serve: ([UserFault]) throws(SystemError) -> Void
    ) -> RebuildError? {
        guard pids.count == plan.processes.count else { return .refused("there are too many processes") }
        let late: [(process: LazyProcess, userFault: UserFault)]
        do throws(CriuImageError) { late = try plan.fillMemory(of: pids) } catch {
            return .failed(error.description)
        }
        do throws(SystemError) {
            for one in late { try one.userFault.cover(one.process.ranges) }
            if !late.isEmpty { try serve(late.map(\.userFault)) }
        } catch {
            return .failed("its memory cannot come in behind: \(error)")
        }
        do throws(SystemError) { try setMemoryScores(of: pids, plan) } catch {
            return .refused(error.description)
        }
        return nil
    }

    /// Where they are not those of PID 1, which all have inherited.
    private static func setMemoryScores(of pids: [Int32], _ plan: RebuildPlan) throws(SystemError) {
        func path(_ pid: Int32) -> String { "/proc/\(pid)/oom_score_adj" }
        let own = try Files.read(path(pids[0]))
        for (pid, process) in zip(pids, plan.processes) {
            let wanted = Array("\(process.memoryScore)\n".utf8)
            if wanted != own { try Descriptor.open(path(pid), O_WRONLY).writeAll(wanted) }
        }
    }

    /// What the clocks of a plan differ by from the machine's, for /proc/PID/timens_offsets (time_namespaces(7)).
    private static func offsets(for plan: RebuildPlan) -> String {
        func line(_ name: String, _ clock: clockid_t, _ wanted: ClockTime) -> String {
            var now = timespec()
            clock_gettime(clock, &now)
            var (seconds, rest) = (
                wanted.seconds - Int64(now.tv_sec), wanted.nanoseconds - Int64(now.tv_nsec)
            )
            if rest < 0 { (seconds, rest) = (seconds - 1, rest + 1_000_000_000) }
            return "\(name) \(seconds) \(rest)\n"
        }
        return line("monotonic", CLOCK_MONOTONIC, plan.clocks.monotonic)
            + line("boottime", CLOCK_BOOTTIME, plan.clocks.boottime)
    }
}
