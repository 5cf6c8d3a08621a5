import Glibc
import LinuxSystem

/// Makes twins of entries in another directory tree.
protocol EntryCopying: AnyObject {
    /// The tree in which the twins are made, and the directory of it that the next one goes to.
    var rootDirectory: Int32 { get }
    var destinationDirectory: Int32 { get }
    /// The path of the directory that the walk is in, each part ending in a slash.
    var path: [CChar] { get }
    var data: FileCopy { get }
    var attributes: ExtendedAttributes { get }
    /// Where the first name of an inode with several lies below the root.
    var firstNames: [ino_t: [CChar]] { get set }
    /// Bytes of data that were copied or cloned.
    var copiedBytes: Int64 { get set }
    /// Makes the twin of a regular file in some other way than by copying; false asks for a copy.
    func reuse(_ name: UnsafePointer<CChar>, _ status: stat) -> Bool
}

extension EntryCopying {
    func reuse(_ name: UnsafePointer<CChar>, _ status: stat) -> Bool { false }
}

/// How the twin of each kind of entry is made.
extension EntryCopying {
    func copyEntry(
        _ name: UnsafePointer<CChar>, _ status: stat, in directory: Int32
    ) throws(SystemError) {
        let at = destinationDirectory
        if status.st_mode & S_IFMT == S_IFCHR, status.st_rdev == 0 {
            // A whiteout: overlayfs looks at nothing but the device number, and lets many share an inode.
            try retrying("mknodat", printable(name)) { mknodat(at, name, S_IFCHR, 0) }
            return
        }
        if status.st_nlink > 1, try linkToFirstName(name, status) { return }
        switch status.st_mode & S_IFMT {
        case S_IFREG: try copyRegular(name, status, in: directory)
        case S_IFLNK: try copySymlink(name, status, in: directory)
        default:
            // Devices, FIFOs and sockets; mknod(2) makes a socket's name without a socket.
            try retrying("mknodat", printable(name)) {
                mknodat(at, name, status.st_mode & S_IFMT | 0o600, status.st_rdev)
            }
            try copyMetadata(status, of: name, from: directory)
        }
        if status.st_nlink > 1 { rememberFirstName(name, status) }
    }

    private func copyRegular(
        _ name: UnsafePointer<CChar>, _ status: stat, in directory: Int32
    ) throws(SystemError) {
        if reuse(name, status) { return }
        let source = Descriptor(owning: try openQuietly(name, in: directory))
        let at = destinationDirectory
        let twin = Descriptor(
            owning: try retrying("openat", printable(name)) {
                openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
            })
        try data.copy(source.raw, to: twin.raw, status)
        copiedBytes += Int64(status.st_size)
        try copyMetadata(status, from: source.raw, to: twin.raw)
    }

    /// Opens a file to read without a trace in its access time, where we may (open(2), O_NOATIME).
    private func openQuietly(
        _ name: UnsafePointer<CChar>, in directory: Int32
    ) throws(SystemError) -> Int32 {
        let flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
        let quiet = openat(directory, name, flags | O_NOATIME)
        if quiet >= 0 { return quiet }
        return try retrying("openat", printable(name)) { openat(directory, name, flags) }
    }

    private func copySymlink(
        _ name: UnsafePointer<CChar>, _ status: stat, in directory: Int32
    ) throws(SystemError) {
        let target = UnsafeMutablePointer<CChar>.allocate(capacity: Int(PATH_MAX) + 1)
        defer { target.deallocate() }
        let length = try retrying("readlinkat", printable(name)) {
            readlinkat(directory, name, target, Int(PATH_MAX))
        }
        target[length] = 0
        let at = destinationDirectory
        try retrying("symlinkat", printable(name)) { symlinkat(target, at, name) }
        try copyMetadata(status, of: name, from: directory)
    }

    // MARK: - Owners, modes, attributes, times

    /// For what is open. chown(2) takes set-user-ID and capabilities away, so the owner comes first; the
    /// times come last.
    func copyMetadata(_ status: stat, from source: Int32, to twin: Int32) throws(SystemError) {
        try retrying("fchown") { fchown(twin, status.st_uid, status.st_gid) }
        try retrying("fchmod") { fchmod(twin, status.st_mode & 0o7777) }
        try attributes.copy(from: .descriptor(source), to: .descriptor(twin))
        let times = [status.st_atim, status.st_mtim]
        try retrying("futimens") { futimens(twin, times) }
    }

    /// For what cannot be opened. A symlink has no mode of its own.
    private func copyMetadata(
        _ status: stat, of name: UnsafePointer<CChar>, from directory: Int32
    ) throws(SystemError) {
        let at = destinationDirectory
        try retrying("fchownat", printable(name)) {
            fchownat(at, name, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW)
        }
        if status.st_mode & S_IFMT != S_IFLNK {
            try retrying("fchmodat", printable(name)) { fchmodat(at, name, status.st_mode & 0o7777, 0) }
        }
        try attributes.copy(from: .entry(name, in: directory), to: .entry(name, in: at))
        let times = [status.st_atim, status.st_mtim]
        try retrying("utimensat", printable(name)) { utimensat(at, name, times, AT_SYMLINK_NOFOLLOW) }
    }

    // MARK: - Hard links

    func rememberFirstName(_ name: UnsafePointer<CChar>, _ status: stat) {
        firstNames[status.st_ino] = path + UnsafeBufferPointer(start: name, count: strlen(name) + 1)
    }

    /// Links to the twin of the same inode, where there is one already; false asks for a copy.
    private func linkToFirstName(
        _ name: UnsafePointer<CChar>, _ status: stat
    ) throws(SystemError) -> Bool {
        guard let first = firstNames[status.st_ino] else { return false }
        let at = destinationDirectory
        if linkat(rootDirectory, first, at, name, 0) == 0 { return true }
        switch errno {
        case EMLINK: return false
        case ENAMETOOLONG:
            // A path longer than the kernel takes at once is walked part by part.
            let parts = first.dropLast().split(separator: CChar(bitPattern: UInt8(ascii: "/"))).map {
                Array($0) + [0]
            }
            let root = rootDirectory
            var directory = Descriptor(
                owning: try retrying("openat", ".") { openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) })
            for part in parts.dropLast() {
                let above = directory.raw
                directory = Descriptor(
                    owning: try retrying("openat", printable(part)) {
                        openat(above, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                    })
            }
            let from = directory.raw
            try retrying("linkat", printable(name)) { linkat(from, parts[parts.count - 1], at, name, 0) }
            return true
        default: throw .last("linkat", printable(name))
        }
    }
}
