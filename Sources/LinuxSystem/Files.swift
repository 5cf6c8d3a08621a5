public import Glibc

/// What stat(2) says of a path.
public struct FileStatus: Sendable {
    public let mode: mode_t
    public let uid: uid_t
    public let gid: gid_t
    public let size: Int64
    public let device: UInt64
    public let inode: UInt64
    /// Which device a device node stands for; 0 for other files.
    public let deviceNumber: UInt64
    public var isDirectory: Bool { mode & S_IFMT == S_IFDIR }
    public var isRegular: Bool { mode & S_IFMT == S_IFREG }
    /// The permission bits, setuid, setgid and sticky included.
    public var permissions: mode_t { mode & 0o7777 }

    /// Reads it; a last symbolic link is followed unless told not to (fstatat(2)).
    public init(_ path: String, follow: Bool = true) throws(SystemError) {
        var status = stat()
        try retrying("stat", path) {
            fstatat(AT_FDCWD, path, &status, follow ? 0 : AT_SYMLINK_NOFOLLOW)
        }
        mode = status.st_mode
        uid = status.st_uid
        gid = status.st_gid
        size = Int64(status.st_size)
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        deviceNumber = UInt64(status.st_rdev)
    }
}

/// Whole-file and directory work on paths that only ckpt writes to.
public enum Files {
    /// The file's bytes.
    public static func read(_ path: String) throws(SystemError) -> [UInt8] {
        try Descriptor.open(path, O_RDONLY).readAll()
    }

    /// Removes a directory that holds files and links alone, as far as that can be done.
    public static func removeFlatDirectory(_ path: String) {
        for name in (try? names(in: path)) ?? [] { unlink("\(path)/\(name)") }
        rmdir(path)
    }

    /// Creates or overwrites a file.
    public static func write(_ path: String, _ bytes: [UInt8], mode: mode_t = 0o600) throws(SystemError) {
        let file = try Descriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: mode)
        try file.writeAll(bytes)
    }

    /// Writes to a file that is there, in one write(2), as the files of the kernel want it.
    public static func put(_ text: String, to path: String) throws(SystemError) {
        let file = try Descriptor.open(path, O_WRONLY)
        let bytes = Array(text.utf8)
        _ = try retrying("write", path) { Glibc.write(file.raw, bytes, bytes.count) }
    }

    /// Replaces a file in one step: a reader sees the old bytes or the new ones (rename(2)); with `durable` a power cut
    /// leaves the one or the other too. When it throws the old file is there as it was.
    public static func replace(
        _ path: String, _ bytes: [UInt8], mode: mode_t = 0o600, durable: Bool = false
    ) throws(SystemError) {
        let staged = path + ".new"
        do throws(SystemError) {
            let file = try Descriptor.open(staged, O_WRONLY | O_CREAT | O_TRUNC, mode: mode)
            try file.writeAll(bytes)
            if durable { try file.synchronize() }
            try rename(staged, path)
        } catch {
            unlink(staged)
            throw error
        }
        guard durable, let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return }
        try Descriptor.open(String(path[..<slash]), O_RDONLY | O_DIRECTORY).synchronize()
    }

    /// rename(2).
    public static func rename(_ from: String, _ to: String) throws(SystemError) {
        try retrying("rename", from) { Glibc.rename(from, to) }
    }

    /// mkdir(2) for each missing part of the path; what is there stays as it is.
    public static func makeDirectory(_ path: String, mode: mode_t = 0o700) throws(SystemError) {
        if mkdir(path, mode) == 0 || errno == EEXIST { return }
        guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else {
            throw .last("mkdir", path)
        }
        try makeDirectory(String(path[..<slash]), mode: mode)
        if mkdir(path, mode) != 0 && errno != EEXIST { throw .last("mkdir", path) }
    }

    /// The names in a directory, without `.` and `..`, in no order; names that are no UTF-8 are left out.
    public static func names(in path: String) throws(SystemError) -> [String] {
        guard let stream = opendir(path) else { throw .last("opendir", path) }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(validatingCString: $0) }
            }
            if let name, name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    /// Whether a directory holds nothing, whatever bytes the names are of.
    public static func isEmpty(_ path: String) throws(SystemError) -> Bool {
        guard let stream = opendir(path) else { throw .last("opendir", path) }
        defer { closedir(stream) }
        var entries = 0
        while entries <= 2, readdir(stream) != nil { entries += 1 }
        return entries <= 2
    }

    /// Whether the path names anything, a dangling symbolic link included.
    public static func exists(_ path: String) -> Bool {
        (try? FileStatus(path, follow: false)) != nil
    }

    /// The path with symbolic links and dots resolved (realpath(3)).
    public static func canonical(_ path: String) throws(SystemError) -> String {
        guard let resolved = realpath(path, nil) else { throw .last("realpath", path) }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// `makeDirectory`, and `spreadSubdirectories` of it where that can be.
    public static func makeSpreadDirectory(_ path: String) throws(SystemError) {
        try makeDirectory(path)
        spreadSubdirectories(of: try Descriptor.open(path, O_RDONLY | O_DIRECTORY))
    }

    /// Asks ext4 to put each new subdirectory into a block group of its own (FS_TOPDIR_FL, ioctl_iflags(2)).
    ///
    /// ext4 does not reuse an inode for minutes after its deletion and searches past all such inodes of
    /// the group at every creation (recently_deleted in fs/ext4/ialloc.c). Where a large layer was just
    /// removed, creating a file took 0.4–1.2 ms instead of 0.03–0.08. Other filesystems refuse the flag.
    public static func spreadSubdirectories(of directory: borrowing Descriptor) {
        let getFlags: UInt = 0x8008_6601  // FS_IOC_GETFLAGS, _IOR('f', 1, long)
        let setFlags: UInt = 0x4008_6602  // FS_IOC_SETFLAGS, _IOW('f', 2, long)
        let topDirectory = 0x20000
        var flags = 0
        guard ioctl(directory.raw, getFlags, &flags) == 0, flags & topDirectory == 0 else { return }
        flags |= topDirectory
        _ = ioctl(directory.raw, setFlags, &flags)
    }
}
