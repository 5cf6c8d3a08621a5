import CTwin
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
                + dumped.signals.lazy.filter { $0.isTimed && $0.threads.count > 1 }.map(\.process))
        for process in tree.processes {
            guard let status = TaskStatus(of: process) else { continue }
            standing[status.id] = status
            guard asked.contains(status.id) || status.shared != 0 else { continue }
            for thread in TreeOfTasks.threads(of: process) where thread != process {
                if let status = TaskStatus(of: thread) { standing[status.id] = status }
            }
        }
        findRestartedCalls()
    }

    /// Has the calls that the save broke off go on in the processes that run on, and notes them for the images.
    ///
    /// Every process must stand still. What cannot be mended is reported: a save does not fail for it, as a program may
    /// meet EINTR at any time.
    func mendInterruptedCalls(worker: Int32, _ report: @Sendable (String) -> Void) {
        // ckpt-init waits for ever and asks again by itself; so do most sandboxes' only interrupted threads.
        if dumped.interrupted.allSatisfy({ $0.process == 1 }), dumped.restarted.isEmpty { return }
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
                guard let id = standing[call.thread]?.hostID else { continue }
                // What goes on is restart_syscall from now on: the next save must be able to tell which call it is.
                if call.thread != call.process, knownAgain.contains(call.thread) {
                    try tasks.resumeBlockedCall(id)
                } else if let number = call.number {
                    try tasks.interrupt(
                        id, call: number, instruction: call.instruction, Int32(CALL_ERESTARTNOHAND))
                }
            }
            for call in dumped.restarted {
                guard let id = standing[call.thread]?.hostID else { continue }
                try tasks.interrupt(call, id)
            }
        } catch {
            report("sandbox \(sandbox.name): calls of its processes end with EINTR after a save: \(error)")
        }
    }

    /// Leaves of the calls that begin again those that a signal may end, which is one that waits or a timer's.
    private func findRestartedCalls() {
        let timed = Set(dumped.signals.lazy.filter(\.isTimed).map(\.process))
        dumped.restarted = dumped.restarted.filter { call in
            guard let process = standing[call.process] else { return false }
            let waiting = process.shared | (standing[call.thread]?.pending ?? 0)
            return timed.contains(call.process) || waiting & ~call.blocked != 0
        }
    }

    /// Has the images begin those calls again that no signal ends, and the others end.
    func mendCalls(in images: borrowing ImageDirectory) throws(CriuImageError) {
        // A signal that came later is among those that wait by now.
        let now = later.isEmpty ? dumped : try images.dumpedThreads()
        let interrupted = Set(now.interrupted.map(\.thread))
        try images.restart(dumped.interrupted.filter { interrupted.contains($0.thread) })
        let restarted = Set(dumped.restarted.map(\.thread))
        try images.end(now.restarted.filter { restarted.contains($0.thread) })
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

extension HeldTasks {
    /// Leaves it to the kernel whether a call begins again; `id` is its thread's on the host.
    func interrupt(_ call: RestartedCall, _ id: Int32) throws(SystemError) {
        try interrupt(id, call: call.number, instruction: call.instruction, call.restart)
    }
}
