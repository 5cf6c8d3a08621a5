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

/// What was read of the snapshots that some sandboxes stand on, right after they were saved or restored, for their next saves.
struct KnownPositions {
    /// So many are kept, of some 50 kB each.
    static let most = 64

    typealias Reading = (sandbox: String, position: String, work: Meanwhile<KnownPosition, Never>)
    private var readings: [Reading] = []

    /// The one of a sandbox that stands on `position`; it is kept no longer, nor is one of another position.
    mutating func take(_ sandbox: String, _ position: String) -> Meanwhile<KnownPosition, Never>? {
        guard let index = readings.firstIndex(where: { $0.sandbox == sandbox }) else { return nil }
        let found = readings.remove(at: index)
        return found.position == position ? found.work : nil
    }

    mutating func keep(_ reading: Reading) {
        drop(reading.sandbox)
        if readings.count >= Self.most { readings.removeFirst() }
        readings.append(reading)
    }

    mutating func drop(_ sandbox: String) { readings.removeAll { $0.sandbox == sandbox } }
}

extension CheckpointManager {
    /// How long who has just saved or restored has the processors for what comes next, in nanoseconds.
    private static let courtesy: UInt64 = 5_000_000

    /// Reads of a snapshot what the next save of a sandbox that has just come to stand on it wants.
    ///
    /// Not its memory: that would be mapped for long, and a disk that fails meanwhile would end the server.
    func readAhead(_ sandbox: LiveSandbox, _ snapshot: String) {
        known.with { $0.noteSaved(snapshot) }
        let path = store.processPath(snapshot)
        let work = Meanwhile(after: Self.courtesy) { () throws(Never) in KnownPosition(readingFrom: path) }
        positions.with { $0.keep((sandbox.name, snapshot, work)) }
    }
}
