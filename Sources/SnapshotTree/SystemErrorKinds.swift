import Glibc
import LinuxSystem

extension SystemError {
    /// Whether a right was missing.
    var isPermission: Bool { code == EPERM || code == EACCES }
    /// Whether the thing was not there.
    var isMissing: Bool { code == ENOENT }
}

/// Runs `body` and turns the kernel's error into the tree's.
func wrapping<Result: ~Copyable>(
    _ body: () throws(SystemError) -> Result
) throws(SnapshotTreeError) -> Result {
    do { return try body() } catch { throw SnapshotTreeError(error) }
}
