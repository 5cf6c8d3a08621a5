public import Glibc
public import LinuxSystem

/// A file that is not the same in two overlays.
public struct FileDifference: Sendable {
    /// What it is in one of them.
    public struct Side: Sendable {
        /// Where it lies.
        public let place: RawPath
        public let status: stat
        /// Where a symbolic link leads.
        public let target: RawPath?

        /// S_IFMT of its mode.
        public var type: mode_t { status.st_mode & S_IFMT }
    }

    /// Its path relative to the overlays' roots; empty for the root itself.
    public let path: RawPath
    /// Nil where it is not there.
    public let before: Side?
    public let after: Side?
    /// Whether its contents are the same: bytes, the target of a link, the number of a device.
    public let sameContents: Bool
}

/// Compares two overlays that have directories in common.
///
/// Only what lies in directories that are not below both is walked: the layers that differ, not the base. Times do not
/// count as a difference.
public struct TreeComparison {
    private var found: [FileDifference] = []

    /// What is different in `new` from `old`, sorted by path. Paths of `skipped`, relative, are left out with all that is
    /// below them.
    public static func differences(
        from old: OverlayStack, to new: OverlayStack, skipped: Set<RawPath> = []
    ) throws(SystemError) -> [FileDifference] {
        var comparison = TreeComparison()
        var waiting: [(path: RawPath, old: [RawPath], new: [RawPath])] = [
            ([], old.directories, new.directories)
        ]
        // With a stack of its own: directories may be nested deeper than a thread's stack.
        while let (path, olds, news) = waiting.popLast() {
            for name in try names(in: olds, orElse: news) {
                let below = path.isEmpty ? name : path + [OverlayStack.slash] + name
                if skipped.contains(below) { continue }
                let before = OverlayStack.step(name, in: olds)
                let after = OverlayStack.step(name, in: news)
                if before == after { continue }
                try comparison.compare(below, before, after)
                let (oldPlaces, newPlaces) = (before.places, after.places)
                if !oldPlaces.isEmpty || !newPlaces.isEmpty { waiting.append((below, oldPlaces, newPlaces)) }
            }
        }
        return comparison.found.sorted { $0.path.lexicographicallyPrecedes($1.path) }
    }

    /// The names in the directories that are not at the bottom of both lists.
    private static func names(in olds: [RawPath], orElse news: [RawPath]) throws(SystemError) -> Set<RawPath>
    {
        var (olds, news) = (olds[...], news[...])
        while let last = olds.last, last == news.last {
            olds.removeLast()
            news.removeLast()
        }
        var names: Set<RawPath> = []
        for directory in olds + news {
            let descriptor: Descriptor
            do throws(SystemError) {
                let raw = try retrying("open", displayed(directory)) {
                    open(directory + [0], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                }
                descriptor = Descriptor(owning: raw)
            } catch {
                // A layer that changed nothing in a part of the root has no directory for it.
                if error.code == ENOENT { continue }
                throw error
            }
            try DirectoryEntries(of: descriptor).forEach { (name, _) throws(SystemError) in
                names.insert(Array(UnsafeBufferPointer(start: name, count: strlen(name))))
            }
        }
        return names
    }

    private mutating func compare(
        _ path: RawPath, _ before: OverlayStack.Entry?, _ after: OverlayStack.Entry?
    ) throws(SystemError) {
        let old = try before.map { entry throws(SystemError) in try Side(entry.place) }
        let new = try after.map { entry throws(SystemError) in try Side(entry.place) }
        var same = false
        if let old, let new {
            same = try old.hasContents(of: new)
            let mask = S_IFMT | 0o7777
            if same, old.status.st_mode & mask == new.status.st_mode & mask,
                old.status.st_uid == new.status.st_uid, old.status.st_gid == new.status.st_gid
            {
                return
            }
        }
        found.append(FileDifference(path: path, before: old, after: new, sameContents: same))
    }

    private typealias Side = FileDifference.Side
}

extension OverlayStack.Entry? {
    /// Where the contents of a directory lie; empty for what is none.
    fileprivate var places: [RawPath] {
        if case .directory(let places) = self { places } else { [] }
    }
}

extension FileDifference.Side {
    fileprivate init(_ place: RawPath) throws(SystemError) {
        var status = stat()
        try retrying("lstat", displayed(place)) { lstat(place + [0], &status) }
        self.place = place
        self.status = status
        target = status.st_mode & S_IFMT == S_IFLNK ? try Self.readLink(place) : nil
    }

    private static func readLink(_ place: RawPath) throws(SystemError) -> RawPath {
        var target = RawPath(repeating: 0, count: Int(PATH_MAX))
        let length = try retrying("readlink", displayed(place)) {
            readlink(place + [0], &target, target.count)
        }
        return Array(target.prefix(length))
    }

    fileprivate func hasContents(of other: Self) throws(SystemError) -> Bool {
        guard type == other.type else { return false }
        switch type {
        case S_IFREG:
            guard status.st_size == other.status.st_size else { return false }
            let same = status.st_dev == other.status.st_dev && status.st_ino == other.status.st_ino
            return same ? true : try hasBytes(of: other)
        case S_IFLNK: return target == other.target
        case S_IFCHR, S_IFBLK: return status.st_rdev == other.status.st_rdev
        default: return true
        }
    }

    private func hasBytes(of other: Self) throws(SystemError) -> Bool {
        let one = try opened()
        let two = try other.opened()
        while true {
            let (mine, theirs) = (try one.read(upTo: 1 << 18), try two.read(upTo: 1 << 18))
            if mine != theirs { return false }
            if mine.isEmpty { return true }
        }
    }

    /// Opens a regular file for reading.
    public func opened() throws(SystemError) -> Descriptor {
        Descriptor(
            owning: try retrying("open", displayed(place)) {
                open(place + [0], O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
            })
    }
}
