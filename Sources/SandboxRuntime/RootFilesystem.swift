import Glibc
import LinuxSystem

/// One incarnation of a sandbox's root: an empty writable layer over lower directories.
///
/// Each start, restore and reset gets a fresh one, so that nothing of the old is ever half overwritten.
public struct RootFilesystem: Sendable {
    /// What the sandbox has changed since this incarnation began.
    public let upper: String
    /// overlayfs's scratch directory, on the upper's filesystem.
    public let work: String
    /// Where the server mounts it while it is handed to a sandbox.
    public let mountPoint: String

    /// Names the directories of incarnation `number`; nothing is made yet.
    public init(sandboxDirectory: String, workspace: String, sandbox: String, number: Int) {
        upper = "\(sandboxDirectory)/upper-\(number)"
        work = "\(sandboxDirectory)/work-\(number)"
        mountPoint = "\(workspace)/root-\(sandbox)-\(number)"
    }

    /// Makes the directories and mounts the root over `lowers`, topmost first.
    public func mount(over lowers: [String]) throws(RuntimeError) {
        try system { () throws(SystemError) in
            for directory in [upper, work, mountPoint] {
                try Files.makeDirectory(directory, mode: 0o755)
            }
            // The merged root shows the upper directory's own attributes: keep those of the layer below.
            if let top = lowers.first { try Self.copyAttributes(from: top, to: upper) }
            try Mount.overlay(lowers: lowers, upper: (upper, work), at: mountPoint)
        }
    }

    /// Takes the mount out of the server's namespace; the sandbox keeps its own.
    public func release() {
        try? Mount.detach(mountPoint)
        rmdir(mountPoint)
    }

    private static func copyAttributes(from source: String, to target: String) throws(SystemError) {
        var status = stat()
        try retrying("stat", source) { stat(source, &status) }
        try retrying("chown", target) { chown(target, status.st_uid, status.st_gid) }
        try retrying("chmod", target) { chmod(target, status.st_mode & 0o7777) }
        let times = [status.st_atim, status.st_mtim]
        try retrying("utimensat", target) { utimensat(AT_FDCWD, target, times, 0) }
    }
}
