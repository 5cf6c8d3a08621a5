import CLinux
import Criu
import CriuImages
import Glibc
import LinuxSystem
import Messages
import SandboxRuntime

/// Puts back into a restored tree what CRIU lost, before any of its processes runs.
///
/// Nothing of it keeps a tree from running: what cannot be put back, on a machine with fewer processors for example,
/// is told in `warnings`.
struct PuttingBack {
    let lost: LostState
    /// The calls that its threads begin again, of processes with timers.
    private let calls: Meanwhile<[RestartedCall], CriuImageError>
    private(set) var warnings: [String] = []
    /// The tree's root on the host, which not every notification tells.
    private var root: Int32?

    /// Of the snapshot whose process directory this is.
    init(_ directory: String) throws(ErrorMessage) {
        lost = try LostState(readingFrom: directory)
        calls = Meanwhile { () throws(CriuImageError) in try ImageDirectory(directory).timedCalls() }
    }

    /// Acts on what is due at a moment of a restore.
    mutating func act(at moment: CriuNotification) {
        root = moment.pid ?? root
        guard let root else { return }
        if moment.moment == .preResume { breakOffCalls(root, worker: moment.worker) }
        if lost.isEmpty { return }
        switch moment.moment {
        case .postSetupNamespaces:
            let failed = NetworkSettings.set(lost.network, in: root)
            warnings += failed.map { "net/\($0.key) could not be set to \($0.value) again" }
        case .postRestore:
            let tree = TreeOfTasks(root: root)
            setFromOutside(tree)
            setOpenFiles(tree)
        case .preResume: setPersonalities(TreeOfTasks(root: root), worker: moment.worker)
        default: break
        }
    }

    private mutating func setFromOutside(_ tree: TreeOfTasks) {
        let ids = hostIDs(in: tree) { _ in true }
        for process in lost.processes {
            if let filter = process.coredumpFilter, let id = ids[process.process] {
                write("/proc/\(id)/coredump_filter", "\(filter)", "core dump filter", process)
            }
            for thread in process.threads {
                guard let id = ids[thread.thread] else { continue }
                if let cpus = thread.affinity, clinux_set_affinity(id, cpus, Int32(cpus.count)) != 0 {
                    warn(process, "CPU affinity", .last("sched_setaffinity"))
                }
                if let priority = thread.ioPriority, clinux_set_io_priority(id, priority) != 0 {
                    warn(process, "I/O priority", .last("ioprio_set"))
                }
                if let slack = thread.timerSlack {
                    write("/proc/\(id)/timerslack_ns", "\(slack)", "timer slack", process)
                }
            }
        }
    }

    /// A timer may go off before its process runs: then what it begins has to end.
    private mutating func breakOffCalls(_ root: Int32, worker: Int32) {
        do {
            let calls = try calls.wait()
            if calls.isEmpty { return }
            let ids = TreeOfTasks(root: root).hostIDs(of: calls.map { ($0.process, $0.thread) })
            let tasks = try HeldTasks(of: worker)
            for call in calls {
                if let id = ids[call.thread] { try tasks.interrupt(call, id) }
            }
        } catch {
            warnings.append("a call may go on though a timer of its process should end it: \(error)")
        }
    }

    /// What belongs to open files is set on duplicates of their descriptors.
    private mutating func setOpenFiles(_ tree: TreeOfTasks) {
        let (sockets, counters) = (lost.sockets ?? [], lost.counters ?? [])
        let holders = sockets.map(\.holder) + counters.map(\.holder)
        if holders.isEmpty { return }
        let ids = tree.hostIDs(of: holders.map { ($0.process, $0.process) })
        for one in sockets {
            guard let id = ids[one.holder.process],
                let socket = Descriptor.duplicate(of: one.holder.descriptor, in: id)
            else { continue }
            var isTold = false
            for option in one.options {
                do throws(SystemError) { try option.set(on: socket.raw) } catch {
                    if !isTold {
                        warn(
                            one.holder, "option \(option.name) of level \(option.level) of the socket", error)
                    }
                    isTold = true
                }
            }
        }
        for one in counters {
            guard let id = ids[one.holder.process],
                let counter = Descriptor.duplicate(of: one.holder.descriptor, in: id)
            else { continue }
            do throws(SystemError) { try EventCounter.add(one.missing, to: counter.raw) } catch {
                warn(one.holder, "the count of the eventfd", error)
            }
        }
    }

    private mutating func warn(_ holder: DescriptorHolder, _ what: String, _ error: SystemError) {
        warnings.append("\(what) of \(holder) could not be put back: \(error.reason)")
    }

    /// A process alone can change its personality: so each is made to, by CRIU, which holds it.
    private mutating func setPersonalities(_ tree: TreeOfTasks, worker: Int32) {
        let concerned = lost.processes.filter { $0.threads.contains { $0.personality != nil } }
        if concerned.isEmpty { return }
        let ids = hostIDs(in: tree) { $0.personality != nil }
        for process in concerned {
            do throws(SystemError) {
                let tasks = try HeldTasks(of: worker)
                for thread in process.threads {
                    guard let personality = thread.personality, let id = ids[thread.thread] else { continue }
                    guard let instruction = TreeOfTasks.systemCallInstruction(of: id) else {
                        throw SystemError(call: "personality", code: ENOEXEC)
                    }
                    let result = try tasks.call(
                        id, Self.personalityCall, [UInt64(personality)], instruction: instruction)
                    if result < 0 { throw SystemError(call: "personality", code: Int32(-result)) }
                }
            } catch {
                warn(process, "personality", error)
            }
        }
    }

    /// personality(2) of x86-64.
    private static let personalityCall: UInt64 = 135

    private func hostIDs(
        in tree: TreeOfTasks, where isWanted: (ThreadAttributes) -> Bool
    ) -> [Int32: Int32] {
        tree.hostIDs(
            of: lost.processes.flatMap { process in
                [(process.process, process.process)]
                    + process.threads.filter(isWanted).map { (process.process, $0.thread) }
            })
    }

    private mutating func write(
        _ path: String, _ text: String, _ what: String, _ process: ProcessAttributes
    ) {
        do throws(SystemError) {
            try Descriptor.open(path, O_WRONLY).writeAll(Array(text.utf8))
        } catch {
            warn(process, what, error)
        }
    }

    private mutating func warn(_ process: ProcessAttributes, _ what: String, _ error: SystemError) {
        warnings.append(
            "the \(what) of process \(process.process) (\(process.command)) could not be put back: \(error.reason)"
        )
    }
}
