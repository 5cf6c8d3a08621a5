import CriuImages
import Glibc
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

/// The root filesystem of a snapshot, read where it lies: no mount, no sandbox.
struct SnapshotFiles: MappedFiles {
    /// One overlay: the root, or a directory of the host's programs below it.
    struct Part: Sendable {
        /// Its path below the root, empty for the root itself.
        let path: String
        let stack: OverlayStack
        /// Whether its files are the snapshot's; those of a volume are the host's, as they are now.
        let isCaptured: Bool
    }

    let parts: [Part]

    /// The filesystem of `layers` (directories, lowest first) over a base.
    init(view: BaseView, layers: [String]) {
        parts = view.mounts.compactMap { mount in
            let changed = layers.reversed().map { "\($0)/\(mount.key)" }
            return switch mount.kind {
            case .overlay(let lowers, _):
                Part(path: mount.path, stack: OverlayStack(changed + lowers), isCaptured: true)
            case .tmpfs:
                // Each layer has all of it.
                Part(path: mount.path, stack: OverlayStack(Array(changed.prefix(1))), isCaptured: true)
            case .bind(let source, _):
                Part(path: mount.path, stack: OverlayStack([source]), isCaptured: false)
            case .writable: nil
            }
        }
    }

    /// What lies at an absolute path that has no symbolic link in it but perhaps the last part.
    func find(_ path: String) -> OverlayStack.Entry? {
        let names = path.split(separator: "/")
        let deepest = parts.filter { names.starts(with: $0.path.split(separator: "/")) }
            .max { $0.path.count < $1.path.count }
        guard let deepest else { return nil }
        let below = names.dropFirst(deepest.path.split(separator: "/").count)
        return deepest.stack.find(below.joined(separator: "/"))
    }

    func identity(of path: String) -> MappedFileIdentity? {
        var status = stat()
        guard case .file(let place) = find(path), lstat(place + [0], &status) == 0 else { return nil }
        return MappedFileIdentity(name: displayed(place), size: UInt64(status.st_size))
    }

    func read(_ path: String, offset: UInt64, count: Int) -> [UInt8]? {
        guard case .file(let place) = find(path) else { return nil }
        let raw = open(place + [0], O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard raw >= 0 else { return nil }
        let file = Descriptor(owning: raw)
        var status = stat()
        guard fstat(file.raw, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
        let size = UInt64(status.st_size)
        guard offset < size else { return [] }
        let wanted = Int(min(UInt64(count), size - offset))
        return [UInt8](unsafeUninitializedCapacity: wanted) { buffer, filled in
            filled = 0
            while filled < wanted {
                let got = pread(
                    file.raw, buffer.baseAddress! + filled, wanted - filled, off_t(offset) + off_t(filled))
                if got < 0, errno == EINTR { continue }
                guard got > 0 else { return }
                filled += got
            }
        }
    }
}

extension CheckpointManager {
    /// The root filesystem of a snapshot.
    func files(of snapshot: SnapshotTree.Record) throws(ErrorMessage) -> SnapshotFiles {
        let view = try view(of: snapshot.spec, on: Ground(manifest: snapshot.manifest))
        let layers = try mapping { () throws(SnapshotTreeError) in try store.unmergedLayers(of: snapshot) }
        return SnapshotFiles(view: view, layers: layers.map { store.layerPath($0) })
    }
}
