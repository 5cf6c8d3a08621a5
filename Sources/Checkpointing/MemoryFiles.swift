import CLinux
import Glibc
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

/// What is in a sandbox's tmpfs: copied into the layer of each snapshot, whole, and from there into a fresh tmpfs
/// before CRIU opens and maps its files. CRIU's own way is tar, which costs milliseconds and loses attributes.
extension CheckpointManager {
    private static let opaque = "trusted.overlay.opaque"

    /// Copies the tmpfs at `path` of the sandbox of PID 1 `pid`, while every process stands still.
    func captureTmpfs(_ path: String, of pid: Int32, into layer: String) throws(SnapshotTreeError) {
        let root = try wrapping { () throws(SystemError) -> Descriptor in
            let root = try SandboxFiles(inSandboxOf: pid).list("/\(path)")
            guard Mount.isTmpfs("/proc/self/fd/\(root.raw)") else {
                throw SystemError(call: "capture", code: ESTALE, subject: "/\(path) is no tmpfs any more")
            }
            try Files.makeDirectory(layer)
            return root
        }
        _ = try LayerCapture(upper: "/proc/self/fd/\(root.raw)", layer: layer).capture()
        // Whoever merges layers sees that nothing of a lower one shines through.
        _ = try wrapping { () throws(SystemError) in
            try retrying("setxattr", layer) { clinux_set_xattr(layer, Self.opaque, "y") }
        }
    }

    /// Puts back what the topmost layer holds of each tmpfs; `layers` are topmost first.
    func fillTmpfs(of root: RootFilesystem, from layers: [String]) throws(ErrorMessage) {
        for tmpfs in root.tmpfs {
            guard let layer = layers.first(where: { Files.exists("\($0)/\(tmpfs.key)") }) else { continue }
            try mapping { () throws(SnapshotTreeError) in
                _ = try LayerCapture(upper: "\(layer)/\(tmpfs.key)", layer: tmpfs.source).capture()
            }
            _ = lremovexattr(tmpfs.source, Self.opaque)
        }
    }
}

/// Runs system calls on behalf of a capture.
private func wrapping<Result: ~Copyable>(
    _ body: () throws(SystemError) -> Result
) throws(SnapshotTreeError) -> Result {
    do { return try body() } catch { throw SnapshotTreeError(error) }
}
