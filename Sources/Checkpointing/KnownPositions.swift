import CriuImages
import LinuxSystem
import SnapshotTree

/// What a save reads of the snapshot that its sandbox stands on, beside memory.
struct KnownPosition: Sendable {
    /// Its images, to be followed up; nil where they cannot be.
    let predecessor: Predecessor?
    /// Why not.
    let obstacle: String?

    init(readingFrom path: String) {
        do throws(FollowUpRefusal) { (predecessor, obstacle) = (try Predecessor(in: path), nil) } catch {
            (predecessor, obstacle) = (nil, error.description)
        }
    }
}

/// What was read of some snapshots, right after they were saved or restored, for the next saves of what stands on them.
struct KnownPositions {
    /// So many are kept, of some 50 kB each.
    static let most = 64

    typealias Reading = Meanwhile<KnownPosition, Never>
    private var readings: [(position: String, work: Reading)] = []

    /// The one of a snapshot, which is the last to be forgotten then.
    mutating func find(_ position: String) -> Reading? {
        guard let index = readings.firstIndex(where: { $0.position == position }) else { return nil }
        let found = readings.remove(at: index)
        readings.append(found)
        return found.work
    }

    mutating func keep(_ position: String, _ work: Reading) {
        forget(position)
        if readings.count >= Self.most { readings.removeFirst() }
        readings.append((position, work))
    }

    /// Another one may come to have the id.
    mutating func forget(_ position: String) { readings.removeAll { $0.position == position } }
}

extension CheckpointManager {
    /// How long who has just saved or restored has the processors for what comes next, in nanoseconds.
    private static let courtesy: UInt64 = 5_000_000

    /// Reads of a snapshot what the next save of a sandbox that has just come to stand on it wants.
    ///
    /// Not its memory: that would be mapped for long, and a disk that fails meanwhile would end the server.
    func readAhead(_ snapshot: String) {
        known.with { $0.noteSaved(snapshot) }
        if positions.with({ $0.find(snapshot) }) != nil { return }
        let path = store.processPath(snapshot)
        let work = Meanwhile(after: Self.courtesy) { () throws(Never) in KnownPosition(readingFrom: path) }
        positions.with { $0.keep(snapshot, work) }
    }
}
