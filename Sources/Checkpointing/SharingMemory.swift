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
            shares = images.shareMemory(with: parent.map { store.processPath($0) })
        } catch {
            throw ErrorMessage(.internal, "the process image cannot be read back", cause: error.description)
        }
        for problem in shares.problems {
            report("sandbox \(attempt.sandbox.name): some memory is stored whole: \(problem)")
        }
        (known.process, known.processLinks) = (shares.digests, shares.links)
        attempt.timings.memoryMs = milliseconds(since: began)
        return MemoryInfo(
            totalBytes: Int64(shares.pages) * Int64(Page.size),
            zeroBytes: Int64(shares.zero) * Int64(Page.size),
            inheritedBytes: Int64(shares.inherited) * Int64(Page.size),
            storedBytes: Int64(shares.stored) * Int64(Page.size))
    }
}
