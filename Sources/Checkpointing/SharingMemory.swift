import Criu
import CriuImages
import Digests
import LinuxSystem
import Messages
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
            shares = images.shareMemory(with: parent.map { store.processPath($0) }, taken: attempt.taken)
        } catch {
            throw ErrorMessage(.internal, "the process image cannot be read back", cause: error.description)
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

    /// Prepares a save to leave the memory of large processes where it is and take from it what the snapshot that the
    /// sandbox stands on does not have.
    func prepareTaking(_ attempt: SaveAttempt) {
        guard canLeaveMemory.with({ $0 }), !attempt.leavesAllToCriu,
            let parent = attempt.sandbox.record.position,
            let known = try? store.resolve(reference: parent).manifest.memory,
            UInt64(clamping: known.totalBytes) >= ParentMemory.least
        else { return }
        let standIn = "\(workspace)/leave-\(attempt.sandbox.name)"
        do throws(CriuImageError) {
            guard let memory = try ParentMemory(in: store.processPath(parent)) else { return }
            try StandInParent.make(at: standIn, for: memory.processes)
            attempt.left = SaveAttempt.LeftMemory(parent: memory, standIn: standIn)
        } catch {
            // Whole it can be saved all the same, and what is wrong with the parent is told when it is compared with.
            StandInParent.remove(standIn)
        }
    }

    /// Takes what was left in the processes, which stand still.
    func takeMemory(_ attempt: SaveAttempt) throws(ErrorMessage) {
        guard let left = attempt.left else { return }
        let began = monotonicNanoseconds()
        let pids = left.parent.processes
        let hosts = attempt.tree.hostIDs(of: pids.map { ($0, $0) })
        do throws(CriuImageError) {
            attempt.taken = try ImageDirectory(attempt.staging.processPath).takeMemory(
                of: hosts, sharing: left.parent)
        } catch {
            attempt.problem = error.description
            throw ErrorMessage(
                .internal, "the memory of its processes cannot be taken", cause: error.description)
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
}
