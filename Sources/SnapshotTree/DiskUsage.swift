import Glibc
import LinuxSystem

/// What a directory tree takes on disk, as du(1) counts: blocks of 512 bytes, each inode once.
struct DiskUsage: TreeVisitor {
    /// Files, directories and all else below the root of the walk.
    private(set) var entries = 0
    private(set) var bytes: Int64 = 0
    /// Where to stop, in entries and bytes; what was counted by then is at least one of them.
    let entryLimit: Int
    let byteLimit: Int64
    // Inodes with several links: blocks, links, and how many of them this tree holds.
    private var linked: [ino_t: (bytes: Int64, links: UInt64, found: UInt64)] = [:]

    init(entryLimit: Int = .max, byteLimit: Int64 = .max) {
        self.entryLimit = entryLimit
        self.byteLimit = byteLimit
    }

    /// Whether the walk stopped early.
    var reachedLimit: Bool { entries >= entryLimit || bytes >= byteLimit }

    /// The bytes of files that are linked from outside this tree too: another layer pays for them.
    var sharedBytes: Int64 {
        linked.values.reduce(0) { $0 + ($1.found < $1.links ? $1.bytes : 0) }
    }

    /// Counts a tree, the root directory's own blocks included.
    static func of(_ root: borrowing Descriptor) throws(SystemError) -> DiskUsage {
        var usage = DiskUsage()
        var status = stat()
        try retrying("fstat") { fstat(root.raw, &status) }
        usage.bytes = Int64(status.st_blocks) * 512
        try TreeWalk.walk(root, &usage)
        return usage
    }

    mutating func file(
        _ name: UnsafePointer<CChar>, type: UInt8, in directory: Int32
    ) throws(SystemError) {
        if reachedLimit { return }
        var status = stat()
        try retrying("fstatat", printable(name)) { fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) }
        count(status)
    }

    mutating func enter(
        _ name: UnsafePointer<CChar>, in parent: Int32, opened directory: Int32
    ) throws(SystemError) -> Bool {
        if reachedLimit { return false }
        var status = stat()
        try retrying("fstat", printable(name)) { fstat(directory, &status) }
        entries += 1
        bytes += Int64(status.st_blocks) * 512
        return true
    }

    private mutating func count(_ status: stat) {
        entries += 1
        let size = Int64(status.st_blocks) * 512
        guard status.st_nlink > 1 else {
            bytes += size
            return
        }
        if linked[status.st_ino] == nil {
            bytes += size
            linked[status.st_ino] = (size, UInt64(status.st_nlink), 1)
        } else {
            linked[status.st_ino]!.found += 1
        }
    }
}
