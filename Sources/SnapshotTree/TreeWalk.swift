import Glibc
import LinuxSystem

/// What a walk over a directory tree does at each step. Names are C strings valid during the call.
protocol TreeVisitor {
    /// Anything but a directory, in the directory behind `directory`.
    mutating func file(
        _ name: UnsafePointer<CChar>, type: UInt8, in directory: Int32
    ) throws(SystemError)
    /// A directory has been opened below `parent`; false leaves it alone.
    mutating func enter(
        _ name: UnsafePointer<CChar>, in parent: Int32, opened directory: Int32
    ) throws(SystemError) -> Bool
    /// All below the directory is done, and it is still open; called for the root of the walk too.
    mutating func finish(_ directory: Int32) throws(SystemError)
    /// The directory is closed and `parent` open again; not called for the root of the walk.
    mutating func leave(_ name: UnsafePointer<CChar>, in parent: Int32) throws(SystemError)
    /// A directory could not be opened; true when something was done about it and a second try makes sense.
    mutating func repair(_ name: UnsafePointer<CChar>, in parent: Int32, after error: SystemError) -> Bool
}

extension TreeVisitor {
    mutating func finish(_ directory: Int32) throws(SystemError) {}
    mutating func leave(_ name: UnsafePointer<CChar>, in parent: Int32) throws(SystemError) {}
    mutating func repair(_ name: UnsafePointer<CChar>, in parent: Int32, after error: SystemError) -> Bool {
        false
    }
}

/// Walks everything below a directory, files first, then each subdirectory, never through a symlink.
///
/// Holds one descriptor whatever the depth: a sandbox can nest directories deeper than a process may
/// open files. It climbs through `..` and checks that it arrives where it came from, so nobody but the
/// caller may move directories meanwhile: the trees walked here are frozen, immutable or ours.
struct TreeWalk: ~Copyable {
    private var current: Descriptor
    private var levels: [Level] = []

    private struct Level {
        let device: dev_t
        let inode: ino_t
        var pending: [[CChar]]
    }

    /// Walks the tree below `root`; the caller's descriptor is left as it is.
    static func walk(_ root: borrowing Descriptor, _ visitor: inout some TreeVisitor) throws(SystemError) {
        var walk = TreeWalk(current: try root.reopenedDirectory())
        try walk.run(&visitor)
    }

    private init(current: consuming Descriptor) { self.current = current }

    private mutating func run(_ visitor: inout some TreeVisitor) throws(SystemError) {
        try list(&visitor)
        var path: [[CChar]] = []
        while let top = levels.indices.last {
            if let name = levels[top].pending.popLast() {
                if try descend(name, &visitor) { path.append(name) }
            } else {
                try visitor.finish(current.raw)
                levels.removeLast()
                guard let name = path.popLast() else { return }
                try climb()
                try visitor.leave(name, in: current.raw)
            }
        }
    }

    /// Visits the files of the current directory and notes its subdirectories.
    private mutating func list(_ visitor: inout some TreeVisitor) throws(SystemError) {
        var status = stat()
        try retrying("fstat") { fstat(current.raw, &status) }
        var level = Level(device: status.st_dev, inode: status.st_ino, pending: [])
        let directory = current.raw
        try DirectoryEntries(of: current).forEach { (name, type) throws(SystemError) in
            let known = type == UInt8(DT_UNKNOWN) ? try fileType(name, in: directory) : type
            if known == UInt8(DT_DIR) {
                level.pending.append(Array(UnsafeBufferPointer(start: name, count: strlen(name) + 1)))
            } else {
                try visitor.file(name, type: known, in: directory)
            }
        }
        // The last one is taken first.
        level.pending.reverse()
        levels.append(level)
    }

    private mutating func descend(
        _ name: [CChar], _ visitor: inout some TreeVisitor
    ) throws(SystemError) -> Bool {
        let parent = current.raw
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
        var raw = openat(parent, name, flags)
        if raw < 0 {
            let error = SystemError.last("openat", printable(name))
            guard visitor.repair(name, in: parent, after: error) else { throw error }
            raw = try retrying("openat", printable(name)) { openat(parent, name, flags) }
        }
        let child = Descriptor(owning: raw)
        guard try visitor.enter(name, in: parent, opened: child.raw) else { return false }
        current = child
        try list(&visitor)
        return true
    }

    private mutating func climb() throws(SystemError) {
        let below = current.raw
        let parent = Descriptor(
            owning: try retrying("openat", "..") { openat(below, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC) })
        var status = stat()
        try retrying("fstat") { fstat(parent.raw, &status) }
        guard let level = levels.last, level.device == status.st_dev, level.inode == status.st_ino else {
            throw SystemError(call: "walk", code: ESTALE, subject: "a directory was moved meanwhile")
        }
        current = parent
    }
}

/// The type of an entry on a filesystem whose readdir does not tell it.
private func fileType(_ name: UnsafePointer<CChar>, in directory: Int32) throws(SystemError) -> UInt8 {
    var status = stat()
    try retrying("fstatat", printable(name)) { fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) }
    return UInt8((status.st_mode & S_IFMT) >> 12)  // DT_* are S_IF* shifted by 12 (readdir(3), IFTODT).
}

/// A name for an error message.
func printable(_ name: UnsafePointer<CChar>) -> String { String(cString: name) }

extension Descriptor {
    /// A descriptor of the same directory with a file position of its own.
    func reopenedDirectory() throws(SystemError) -> Descriptor {
        try Descriptor.open(".", below: self, O_RDONLY | O_DIRECTORY)
    }

    /// Opens a directory by a path of ours (never one that a sandbox chose).
    static func directory(_ path: String) throws(SystemError) -> Descriptor {
        try open(path, O_RDONLY | O_DIRECTORY)
    }
}
