import Criu
import CriuImages
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

extension SaveAttempt {
    /// Reads what the next three act on. Every process must stand still, and CRIU be done.
    func lookAtThreads() throws(ErrorMessage) {
        dumped = try readingBack { images throws(CriuImageError) in try images.dumpedThreads() }
        // Most have one thread, or none but the first that anything is asked of.
        let asked = Set(
            dumped.interrupted.lazy.filter { $0.thread != $0.process }.map(\.process)
                + dumped.signals.lazy.filter { $0.hasTimers && $0.threads.count > 1 }.map(\.process))
        for process in tree.processes {
            guard let status = TaskStatus(of: process) else { continue }
            standing[status.id] = status
            guard asked.contains(status.id) else { continue }
            for thread in TreeOfTasks.threads(of: process) where thread != process {
                if let status = TaskStatus(of: thread) { standing[status.id] = status }
            }
        }
    }

    /// Has the calls that the save broke off go on in the processes that run on, and notes them for the images.
    ///
    /// Every process must stand still. What cannot be mended is reported: a save does not fail for it, as a program may
    /// meet EINTR at any time.
    func mendInterruptedCalls(worker: Int32, _ report: @Sendable (String) -> Void) {
        // ckpt-init waits for ever and asks again by itself; so do most sandboxes' only interrupted threads.
        if dumped.interrupted.allSatisfy({ $0.process == 1 }) { return }
        var knownAgain: Set<Int32> = []
        for index in dumped.interrupted.indices where dumped.interrupted[index].hasKeptTime {
            let call = dumped.interrupted[index]
            guard let id = standing[call.thread]?.hostID,
                let number = TreeOfTasks.callNumber(of: id, before: call.instruction)
            else { continue }
            knownAgain.insert(call.thread)
            dumped.interrupted[index].number = call.number ?? number
        }
        if stops { return }
        do throws(SystemError) {
            let tasks = try HeldTasks(of: worker)
            for call in dumped.interrupted {
                guard let id = standing[call.thread]?.hostID, !meetsSignal(call) else { continue }
                // What goes on is restart_syscall from now on: the next save must be able to tell which call it is.
                if call.thread != call.process, knownAgain.contains(call.thread) {
                    try tasks.resumeBlockedCall(id)
                } else if let number = call.number {
                    try tasks.restart(id, call: number, instruction: call.instruction)
                }
            }
        } catch {
            report("sandbox \(sandbox.name): calls of its processes end with EINTR after a save: \(error)")
        }
    }

    /// Whether a signal waits by now that will end the call.
    private func meetsSignal(_ call: InterruptedCall) -> Bool {
        let waiting = (standing[call.process]?.shared ?? 0) | (standing[call.thread]?.pending ?? 0)
        return waiting & ~call.blocked != 0
    }

    /// The calls that begin again after a restore; one that a later signal ends does not.
    func interruptedInImages(
        _ images: borrowing ImageDirectory
    ) throws(CriuImageError) -> [InterruptedCall] {
        if later.isEmpty { return dumped.interrupted }
        let still = Set(try images.dumpedThreads().interrupted.map(\.thread))
        return dumped.interrupted.filter { still.contains($0.thread) }
    }

    /// Finds out which signals of timers came after CRIU had read what waits.
    ///
    /// Every process must stand still. What cannot be read is reported: then such a signal comes as late as CRIU has it.
    func lookAtSignals(worker: Int32, _ report: @Sendable (String) -> Void) {
        var grown: [(process: Int32, thread: Int32?, id: Int32, known: Int)] = []
        for one in dumped.signals {
            if let now = standing[one.process], one.mayHaveGrown(one.shared, to: now.shared) {
                grown.append((one.process, nil, now.hostID, one.shared.count))
            }
            for (thread, queue) in one.threads {
                guard let now = standing[thread], one.mayHaveGrown(queue, to: now.pending) else { continue }
                grown.append((one.process, thread, now.hostID, queue.count))
            }
        }
        if grown.isEmpty { return }
        do throws(SystemError) {
            let tasks = try HeldTasks(of: worker)
            for queue in grown {
                later.append(
                    LaterSignals(
                        process: queue.process, thread: queue.thread,
                        signals: try tasks.pendingSignals(
                            of: queue.id, shared: queue.thread == nil, from: queue.known)))
            }
        } catch {
            report("sandbox \(sandbox.name): signals that came while it was saved are not saved: \(error)")
        }
    }

    func readingBack<Result>(
        _ read: (borrowing ImageDirectory) throws(CriuImageError) -> Result
    ) throws(ErrorMessage) -> Result {
        do throws(CriuImageError) { return try read(try ImageDirectory(staging.processPath)) } catch {
            throw ErrorMessage(.internal, "the process image cannot be read back", cause: error.description)
        }
    }
}
