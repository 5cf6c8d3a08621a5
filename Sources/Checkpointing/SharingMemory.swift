import Criu
import CriuImages
import Digests
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

extension CheckpointManager {
    /// Stores only the memory that differs from the parent snapshot's.
    ///
    /// The sandbox goes on meanwhile, but for one that is stopped. Memory that cannot be compared is stored whole.
    /// `known` gets the digests of what was read and written for that.
    func shareMemory(
        _ attempt: SaveAttempt, parent: String?, _ known: inout KnownDigests
    ) throws(ErrorMessage) -> MemoryInfo {
        let began = monotonicNanoseconds()
        let shares: MemoryShares
        do throws(CriuImageError) {
            let images = try ImageDirectory(attempt.staging.processPath)
            shares = try images.shareMemory(with: parent.map { store.processPath($0) }, taken: attempt.taken)
        } catch {
            if attempt.taken != nil { attempt.problem = error.description }
            throw ErrorMessage(
                RuntimeError.kind(error.cause?.code ?? 0), "memory cannot be compared and stored",
                hint: error.cause?.remedy, cause: error.description)
        }
        for problem in shares.problems {
            report("sandbox \(attempt.sandbox.name): some memory is stored whole: \(problem)")
        }
        (known.process, known.processLinks) = (shares.digests, shares.links)
        attempt.timings.memoryMs = (attempt.timings.memoryMs ?? 0) + milliseconds(since: began)
        return MemoryInfo(
            totalBytes: Int64(shares.pages) * Int64(Page.size),
            zeroBytes: Int64(shares.zero) * Int64(Page.size),
            inheritedBytes: Int64(shares.inherited) * Int64(Page.size),
            storedBytes: Int64(shares.stored) * Int64(Page.size))
    }

    /// Reads what a save wants to know of the snapshot that the sandbox stands on.
    func prepareTaking(_ attempt: SaveAttempt) {
        guard !attempt.leavesAllToCriu, let parent = attempt.sandbox.record.position else { return }
        let path = store.processPath(parent)
        attempt.parentMemory = Meanwhile { () throws(Never) in
            // Without it all memory is saved whole, and what is wrong with it is told when it is compared with.
            try? ParentMemory(in: path)
        }
        attempt.known =
            positions.with { $0.find(parent) }?.wait()
            ?? KnownPosition(readingFrom: path)
        // What failed for want of something may go well the next time.
        if attempt.known?.obstacle != nil { positions.with { $0.forget(parent) } }
    }

    /// Has CRIU leave memory where it is, where that is possible.
    func leaveMemory(_ attempt: SaveAttempt) {
        guard canLeaveMemory.with({ $0 }), let memory = attempt.parentMemory?.wait(),
            let standIn = try? standIn(for: memory.processes, of: attempt.sandbox)
        else { return }
        attempt.left = SaveAttempt.LeftMemory(parent: memory, standIn: standIn)
    }

    /// The directory that stands in for a parent with these processes; it stays for the sandbox's next save.
    private func standIn(for processes: [Int32], of sandbox: LiveSandbox) throws(CriuImageError) -> String {
        let path = standInPath(of: sandbox.name)
        if sandbox.with({ $0.standsIn }) == processes { return path }
        removeStandIn(of: sandbox)
        do throws(CriuImageError) { try StandInParent.make(at: path, for: processes) } catch {
            StandInParent.remove(path)
            throw error
        }
        sandbox.with { $0.standsIn = processes }
        return path
    }

    func removeStandIn(of sandbox: LiveSandbox) {
        sandbox.with { $0.standsIn = nil }
        StandInParent.remove(standInPath(of: sandbox.name))
    }

    private func standInPath(of name: String) -> String { "\(workspace)/leave-\(name)" }

    /// Takes what was left in the processes, which stand still.
    func takeMemory(_ attempt: SaveAttempt) throws(ErrorMessage) {
        guard let left = attempt.left else { return }
        let began = monotonicNanoseconds()
        do throws(CriuImageError) {
            attempt.taken = try ImageDirectory(attempt.staging.processPath).takeMemory(
                of: attempt.hosts, sharing: left.parent)
        } catch {
            attempt.problem = error.description
            throw ErrorMessage(
                RuntimeError.kind(error.cause?.code ?? 0), "the memory of its processes cannot be taken",
                hint: error.cause?.remedy, cause: error.description)
        }
        attempt.timings.memoryMs = milliseconds(since: began)
    }
}

extension SaveAttempt {
    /// Memory that a dump leaves in the processes.
    struct LeftMemory {
        let parent: ParentMemory
        /// What CRIU takes for the parent.
        let standIn: String
    }

    /// Finds the processes whose memory was left. Every process must stand still.
    func findHosts() {
        if let left { hosts = tree.hostIDs(of: left.parent.processes.map { ($0, $0) }) }
    }
}
