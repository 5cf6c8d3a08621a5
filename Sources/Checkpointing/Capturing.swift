import CLinux
import CriuImages
import Glibc
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

/// What a sandbox's upper held when it was last captured.
struct CapturedUpper: Sendable {
    /// The layer it became, by id.
    let layer: String
    /// What the next capture compares with.
    let index: CaptureIndex
    /// What hears of changes since.
    let journal: ChangeJournal?
}

extension CheckpointManager {
    /// Makes the sandbox's upper the snapshot's own layer, or finds that the last capture's layer still holds it.
    ///
    /// Every process must stand still. What files they have open and mapped is read from the images in a directory.
    func capture(_ attempt: SaveAttempt, imagesIn path: String) throws(ErrorMessage) -> CapturedUpper {
        let upper = attempt.running.root.upper
        let previous = attempt.sandbox.with { $0.capture }
        let hot = try attempt.hotFiles(path)
        let tmpfs = attempt.running.root.tmpfs
        let copied = WorkCount()
        attempt.sandbox.copying(upper, counting: copied)
        return try mapping { () throws(SnapshotTreeError) in
            let capture = LayerCapture(upper: upper, layer: attempt.staging.layerPath)
            let before = previous.map {
                LayerCapture.Previous(
                    index: $0.index, layer: store.layerPath($0.layer), journal: $0.journal)
            }
            // What is in a tmpfs is stored with each snapshot's own layer.
            let outcome = try capture.capture(
                previous: before, hot: hot, opened: { attempt.openedFiles(path) }, always: !tmpfs.isEmpty,
                counting: copied)
            switch outcome {
            case .unchanged: return previous!
            case .captured(let captured):
                if let previous { attempt.unchanged = (previous.layer, captured) }
                for part in tmpfs {
                    try captureTmpfs(
                        part.path, of: attempt.running.process.pid,
                        into: "\(attempt.staging.layerPath)/\(part.key)")
                }
                return CapturedUpper(
                    layer: attempt.staging.layerID, index: captured.index,
                    journal: attempt.journal(since: captured.index))
            }
        }
    }
}

extension SaveAttempt {
    /// The files that a process may change by a store to memory, by their paths in the upper.
    fileprivate func hotFiles(_ images: String) throws(ErrorMessage) -> [[UInt8]] {
        do throws(CriuImageError) {
            let paths = try ImageDirectory(images).sharedWritableFiles()
            return paths.map { Array(running.root.pathInUpper(of: $0).utf8) }
        } catch {
            throw ErrorMessage(.internal, "the process image cannot be read back", cause: error.description)
        }
    }

    /// The files that are open for writing, by their paths in the upper; nil where the image does not tell.
    fileprivate func openedFiles(_ images: String) -> [[UInt8]]? {
        let paths = try? ImageDirectory(images).filesOpenForWriting().union(openedSince)
        return paths?.map { Array(running.root.pathInUpper(of: $0).utf8) }
    }

    /// Begins to hear of changes since a capture, where the sandbox runs on and has no memory-backed directories, which
    /// are captured each time.
    fileprivate func journal(since index: CaptureIndex) -> ChangeJournal? {
        guard !stops, running.root.tmpfs.isEmpty,
            let root = try? Descriptor.open("/proc/\(running.process.pid)/root", O_PATH | O_DIRECTORY)
        else { return nil }
        let parts = Dictionary(
            running.root.parts.map { ($0.key, $0.path) }, uniquingKeysWith: { first, _ in first })
        return ChangeJournal(index, upper: running.root.upper) { key in
            guard let path = parts[key] else { return nil }
            let opened = clinux_open_in_root(root.raw, path.isEmpty ? "." : path, O_PATH | O_DIRECTORY)
            return opened < 0 ? nil : Descriptor(owning: opened)
        }
    }
}
