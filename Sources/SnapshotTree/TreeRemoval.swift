import Glibc
import LinuxSystem

/// Removes a directory and all below it; symlinks are removed, never followed.
struct TreeRemoval: TreeVisitor {
    /// Bytes on disk that became free: the blocks of files whose last link went.
    private(set) var freedBytes: Int64 = 0
    private let asRoot = geteuid() == 0
    /// Whether the rest shall stay.
    private let isGivenUp: () -> Bool

    private init(isGivenUp: @escaping () -> Bool) { self.isGivenUp = isGivenUp }

    /// Removes `name` below `parent`, whatever it is, and returns the bytes that became free; one that is
    /// not there is no error. Once `isGivenUp` says so it throws ECANCELED.
    static func remove(
        _ name: String, below parent: borrowing Descriptor, isGivenUp: @escaping () -> Bool = { false }
    ) throws(SystemError) -> Int64 {
        var removal = TreeRemoval(isGivenUp: isGivenUp)
        do {
            try removal.removeTree(name, below: parent)
        } catch  where error.isMissing {
            return removal.freedBytes
        }
        return removal.freedBytes
    }

    private mutating func removeTree(
        _ name: String, below parent: borrowing Descriptor
    ) throws(SystemError) {
        var status = stat()
        let at = parent.raw
        try retrying("fstatat", name) { fstatat(at, name, &status, AT_SYMLINK_NOFOLLOW) }
        guard status.st_mode & S_IFMT == S_IFDIR else { return try unlink(name, in: at) }
        if !asRoot { _ = fchmodat(at, name, 0o700, AT_SYMLINK_NOFOLLOW) }
        let root = try Descriptor.open(name, below: parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
        clearFlags(root.raw)
        try TreeWalk.walk(root, &self)
        try leave(name, in: at)
    }

    mutating func file(
        _ name: UnsafePointer<CChar>, type: UInt8, in directory: Int32
    ) throws(SystemError) {
        try goOn()
        try unlink(name, in: directory)
    }

    private func goOn() throws(SystemError) {
        if isGivenUp() { throw SystemError(call: "removal", code: ECANCELED) }
    }

    mutating func enter(
        _ name: UnsafePointer<CChar>, in parent: Int32, opened directory: Int32
    ) throws(SystemError) -> Bool {
        try goOn()
        if !asRoot { _ = fchmod(directory, 0o700) }
        clearFlags(directory)
        return true
    }

    mutating func leave(_ name: UnsafePointer<CChar>, in parent: Int32) throws(SystemError) {
        var status = stat()
        try retrying("fstatat", printable(name)) { fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) }
        try retrying("rmdir", printable(name)) { unlinkat(parent, name, AT_REMOVEDIR) }
        freedBytes += Int64(status.st_blocks) * 512
    }

    mutating func repair(_ name: UnsafePointer<CChar>, in parent: Int32, after error: SystemError) -> Bool {
        // A directory of mode 000 stops everybody but root; readdir said it is a directory.
        error.code == EACCES && fchmodat(parent, name, 0o700, AT_SYMLINK_NOFOLLOW) == 0
    }

    private mutating func unlink(_ name: UnsafePointer<CChar>, in directory: Int32) throws(SystemError) {
        var status = stat()
        try retrying("fstatat", printable(name)) { fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) }
        if unlinkat(directory, name, 0) != 0 {
            guard errno == EPERM, status.st_mode & S_IFMT == S_IFREG else {
                throw .last("unlinkat", printable(name))
            }
            // An immutable or append-only file (ioctl_iflags(2)).
            let file = Descriptor(
                owning: try retrying("openat", printable(name)) {
                    openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
                })
            clearFlags(file.raw)
            try retrying("unlinkat", printable(name)) { unlinkat(directory, name, 0) }
        }
        if status.st_nlink == 1 { freedBytes += Int64(status.st_blocks) * 512 }
    }

    /// Takes the immutable and append-only flags away, where the filesystem knows them and they are set.
    private func clearFlags(_ descriptor: Int32) {
        let getFlags: UInt = 0x8008_6601  // FS_IOC_GETFLAGS, _IOR('f', 1, long)
        let setFlags: UInt = 0x4008_6602  // FS_IOC_SETFLAGS, _IOW('f', 2, long)
        let immutable = 0x10
        let appendOnly = 0x20
        var flags = 0
        guard ioctl(descriptor, getFlags, &flags) == 0, flags & (immutable | appendOnly) != 0 else { return }
        flags &= ~(immutable | appendOnly)
        _ = ioctl(descriptor, setFlags, &flags)
    }
}
