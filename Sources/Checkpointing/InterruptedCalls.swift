import Criu
import CriuImages
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

extension SaveAttempt {
    /// Has the calls that the save broke off go on in the processes that run on, and notes them for the images.
    ///
    /// Every process must stand still. What cannot be mended is reported: a save does not fail for it, as a program may
    /// meet EINTR at any time.
    func mendInterruptedCalls(
        worker: Int32, _ report: @Sendable (String) -> Void
    ) throws(ErrorMessage) {
        interrupted = try readingBack { images throws(CriuImageError) in try images.interruptedCalls() }
        // ckpt-init waits for ever and asks again by itself; so do most sandboxes' only interrupted threads.
        let others = interrupted.filter { $0.process != 1 }
        if others.isEmpty { return }
        let ids = tree.hostIDs(of: others.map { ($0.process, $0.thread) })
        var knownAgain: Set<Int32> = []
        for index in interrupted.indices where interrupted[index].hasKeptTime {
            let call = interrupted[index]
            guard let id = ids[call.thread],
                let number = TreeOfTasks.callNumber(of: id, before: call.instruction)
            else { continue }
            knownAgain.insert(call.thread)
            interrupted[index].number = call.number ?? number
        }
        if stops { return }
        do throws(SystemError) {
            let tasks = try HeldTasks(of: worker)
            for call in interrupted {
                guard let id = ids[call.thread] else { continue }
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

    /// Finds out which signals of timers came after CRIU had read what waits.
    ///
    /// Every process must stand still. What cannot be read is reported: then such a signal comes as late as CRIU has it.
    func lookAtSignals(
        worker: Int32, _ report: @Sendable (String) -> Void
    ) throws(ErrorMessage) {
        let dumped = try readingBack { images throws(CriuImageError) in try images.dumpedSignals() }
        let ids = tree.hostIDs(
            of: dumped.flatMap { one in
                [(one.process, one.process)]
                    + (one.hasTimers ? one.threads.map { (one.process, $0.thread) } : [])
            })
        var grown: [(process: Int32, thread: Int32?, id: Int32)] = []
        for one in dumped {
            if let id = ids[one.process], one.mayHaveGrown(leader: id) {
                grown.append((one.process, nil, id))
            }
            for (thread, known) in one.threads {
                guard let id = ids[thread], one.mayHaveGrown(thread: id, known: known) else { continue }
                grown.append((one.process, thread, id))
            }
        }
        if grown.isEmpty { return }
        do throws(SystemError) {
            let tasks = try HeldTasks(of: worker)
            for queue in grown {
                laterSignals.append(
                    SignalQueue(
                        process: queue.process, thread: queue.thread,
                        signals: try tasks.pendingSignals(of: queue.id, shared: queue.thread == nil)))
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
