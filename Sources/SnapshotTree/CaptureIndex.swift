import CLinux
import Glibc
import LinuxSystem

/// What a capture saw of an upper directory: enough to prove later that an entry has not changed.
///
/// Kept by inode, some 70 bytes an entry. The proof rests on ctime, which the kernel sets at every change
/// of data or metadata and at every rename, and which nobody can set back. Timestamps have the coarseness
/// of the kernel's tick (up to 10 ms), so an entry changed in the tick of the capture proves nothing: a
/// later change could have left the same time. So could one after the wall clock was set back: an index proves
/// nothing any more once the clock was set.
public struct CaptureIndex: Sendable {
    /// One entry of the upper directory.
    struct Entry: Equatable {
        let parent: ino_t
        let nameHash: Int
        let size: Int64
        let modified: Int64
        let changed: Int64
    }

    private(set) var entries: [ino_t: Entry] = [:]
    /// How many names it noted; more than entries where an inode has several.
    private(set) var names = 0
    /// The names of directories, exactly: their ctime changes with their contents, so it proves no name.
    private(set) var directoryNames: [ino_t: [UInt8]] = [:]
    /// The names of what no change of its directory's files tells of: a file that has several names, a FIFO, a device.
    private(set) var alone: [(parent: ino_t, name: [UInt8])] = []
    let device: dev_t
    let root: ino_t
    /// When the capture began, as `now` tells it.
    let instant: Int64
    /// How often the wall clock had been set before.
    var clockSteps: Int
    /// Files that were mapped shared and writable at that time.
    let hot: Set<ino_t>

    init(of upper: borrowing Descriptor, hot: Set<ino_t>) throws(SystemError) {
        let status = try upper.status()
        device = status.st_dev
        root = status.st_ino
        self.hot = hot
        clockSteps = WallClockSteps.shared.count()
        instant = Self.now(on: upper)
        note(status, name: nil, parent: status.st_ino)
    }

    /// Whether times that are the same still mean that nothing changed.
    var isValid: Bool { clockSteps == WallClockSteps.shared.count() }

    /// Remembers an entry; several names of one inode count as the last of them.
    mutating func note(_ status: stat, name: UnsafePointer<CChar>?, parent: ino_t) {
        names += 1
        guard status.st_dev == device else { return }
        entries[status.st_ino] = Entry(status, name: name, parent: parent)
        guard let name else { return }
        let type = status.st_mode & S_IFMT
        if type == S_IFDIR {
            directoryNames[status.st_ino] = bytes(of: name)
        } else if !status.isWhiteout, status.st_nlink > 1 || (type != S_IFREG && type != S_IFLNK) {
            alone.append((parent, bytes(of: name)))
        }
    }

    private func bytes(of name: UnsafePointer<CChar>) -> [UInt8] {
        UnsafeBufferPointer(start: name, count: strlen(name)).map { UInt8(bitPattern: $0) }
    }

    /// Whether an entry is the one that the capture saw, unchanged, under its name in its directory.
    func provesUnchanged(_ status: stat, name: UnsafePointer<CChar>?, parent: ino_t) -> Bool {
        provesUnchanged(status, name: name, parent: parent, at: instant)
    }

    /// The same, where it is known that nothing had changed until a later `instant`.
    func provesUnchanged(
        _ status: stat, name: UnsafePointer<CChar>?, parent: ino_t, at instant: Int64
    ) -> Bool {
        isSettled(status.st_ino, at: instant) && isSame(status, name: name, parent: parent)
    }

    /// Whether what the kernel says of an entry is what it said at the capture.
    func isSame(_ status: stat, name: UnsafePointer<CChar>?, parent: ino_t) -> Bool {
        status.st_dev == device
            && entries[status.st_ino] == Entry(status, name: name, parent: parent)
    }

    /// Whether an entry had changed last so long before `instant` that a later change has another time.
    func isSettled(_ inode: ino_t, at instant: Int64) -> Bool {
        entries[inode].map { Self.isSettled($0.changed, at: instant) } ?? false
    }

    /// The same for a time of a change, in nanoseconds since 1970, and an `instant` as `now` tells it.
    ///
    /// A filesystem may know whole seconds alone (ext4 with inodes of 128 bytes).
    static func isSettled(_ changed: Int64, at instant: Int64) -> Bool {
        let second: Int64 = 1_000_000_000
        return changed < instant - (changed % second == 0 ? second : 0)
    }

    /// Nanoseconds since 1970, as the kernel dates changes in a filesystem: no later change has an earlier time
    /// (`current_time` in fs/inode.c). Where somebody else may date them it is so much earlier that he may be as far behind.
    static func now(on directory: borrowing Descriptor) -> Int64 {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME_COARSE, &now)
        return now.nanoseconds - (clinux_dates_changes(directory.raw) == 1 ? 0 : mostBehind)
    }

    private static let mostBehind: Int64 = 50_000_000

    /// The same for an inode with several names, of which only one is remembered.
    func provesUnchanged(linked status: stat) -> Bool { provesUnchanged(linked: status, at: instant) }

    /// The same, where it is known that nothing had changed until a later `instant`.
    func provesUnchanged(linked status: stat, at instant: Int64) -> Bool {
        guard status.st_dev == device, let known = entries[status.st_ino] else { return false }
        let now = Entry(status, name: nil, parent: known.parent)
        return Self.isSettled(known.changed, at: instant) && known.changed == now.changed
            && known.modified == now.modified && known.size == now.size
    }

    /// The same for anything but a directory and a whiteout, of which `hot` may change without a trace.
    func provesUnchanged(
        file status: stat, name: UnsafePointer<CChar>, parent: ino_t, hot: Set<ino_t>
    ) -> Bool {
        let isProved =
            status.st_nlink > 1
            ? provesUnchanged(linked: status) : provesUnchanged(status, name: name, parent: parent)
        return isProved && !hot.contains(status.st_ino)
    }

    /// Whether a directory had this name and this parent when the capture was made.
    func hadDirectory(_ status: stat, name: UnsafePointer<CChar>, parent: ino_t) -> Bool {
        guard status.st_dev == device, entries[status.st_ino]?.parent == parent,
            let known = directoryNames[status.st_ino]
        else { return false }
        return known.elementsEqual(UnsafeRawBufferPointer(start: name, count: strlen(name)))
    }
}

extension CaptureIndex.Entry {
    fileprivate init(_ status: stat, name: UnsafePointer<CChar>?, parent: ino_t) {
        var hasher = Hasher()
        if let name { hasher.combine(bytes: UnsafeRawBufferPointer(start: name, count: strlen(name))) }
        self.init(
            parent: parent, nameHash: hasher.finalize(), size: Int64(status.st_size),
            modified: status.st_mtim.nanoseconds, changed: status.st_ctim.nanoseconds)
    }
}

extension stat {
    /// Whether overlayfs takes it for the sign that something of the layers below is gone.
    var isWhiteout: Bool { st_mode & S_IFMT == S_IFCHR && st_rdev == 0 }
}

extension timespec {
    /// The time in nanoseconds.
    ///
    /// Anybody may set a time that is centuries away; it wraps, and still tells one from another.
    fileprivate var nanoseconds: Int64 { Int64(tv_sec) &* 1_000_000_000 &+ Int64(tv_nsec) }
}

/// Looks for anything in an upper directory that a previous capture does not prove unchanged.
struct ChangeScan: TreeVisitor {
    private let index: CaptureIndex
    private let hot: Set<ino_t>
    private var directory: ino_t
    private var parents: [ino_t] = []
    private var seen = 1
    private var changed = false

    /// Whether something may have changed; stops at the first sign.
    static func hasChanged(
        _ upper: borrowing Descriptor, since index: CaptureIndex, hot: Set<ino_t>
    ) throws(SystemError) -> Bool {
        var status = stat()
        try retrying("fstat") { fstat(upper.raw, &status) }
        guard status.st_ino == index.root, index.provesUnchanged(status, name: nil, parent: index.root) else {
            return true
        }
        var scan = ChangeScan(index: index, hot: hot, directory: index.root)
        try TreeWalk.walk(upper, &scan)
        return scan.changed || scan.seen != index.names
    }

    private init(index: CaptureIndex, hot: Set<ino_t>, directory: ino_t) {
        self.index = index
        self.hot = hot
        self.directory = directory
    }

    mutating func file(
        _ name: UnsafePointer<CChar>, type: UInt8, in parent: Int32
    ) throws(SystemError) {
        if changed { return }
        var status = stat()
        try retrying("fstatat", printable(name)) { fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) }
        seen += 1
        // Whiteouts share an inode, whose times change with every deletion; that one is still here is
        // proved by the directory's own times.
        if status.isWhiteout { return }
        changed = !index.provesUnchanged(file: status, name: name, parent: directory, hot: hot)
    }

    mutating func enter(
        _ name: UnsafePointer<CChar>, in parent: Int32, opened: Int32
    ) throws(SystemError) -> Bool {
        if changed { return false }
        var status = stat()
        try retrying("fstat", printable(name)) { fstat(opened, &status) }
        changed = !index.provesUnchanged(status, name: name, parent: directory)
        seen += 1
        parents.append(directory)
        directory = status.st_ino
        return !changed
    }

    mutating func leave(_ name: UnsafePointer<CChar>, in parent: Int32) throws(SystemError) {
        directory = parents.removeLast()
    }
}
