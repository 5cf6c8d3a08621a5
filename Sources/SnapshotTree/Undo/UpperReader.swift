import Glibc
import LinuxSystem
import LocalArchive

/// Reads upper directories into memory.
struct UpperReader {
    let instant: Int64
    let clockSteps = WallClockSteps.shared.count()
    private(set) var entries = 0
    private var size: Int64 = 0
    /// What there is too much of.
    private(set) var excess: String?
    private let previous: UpperImage?
    private let attributes = ExtendedAttributes()

    /// How deep directories may lie in each other.
    private static let deepest = 200

    /// `upper` is one of the directories that are read, all of them in one filesystem.
    init(of upper: borrowing Descriptor, previous: UpperImage?) {
        self.previous = previous
        instant = CaptureIndex.now(on: upper)
    }

    /// Reads a directory and all below.
    mutating func readRoot(
        _ directory: borrowing Descriptor, before: UpperEntry?
    ) throws(SystemError) -> UpperEntry {
        var status = stat()
        try retrying("fstat") { fstat(directory.raw, &status) }
        return try read(directory, status, before: before, depth: 0)
    }

    private mutating func read(
        _ directory: borrowing Descriptor, _ status: stat, before: UpperEntry?, depth: Int
    ) throws(SystemError) -> UpperEntry {
        try count("directories that lie too deep in each other", depth <= Self.deepest)
        let isKnown = before.map { $0.isSame(status) && isSettled($0) } ?? false
        var children: [[UInt8]: UpperEntry] = [:]
        for name in try names(in: directory, isKnown ? before : nil) {
            children[name] = try readEntry(name, in: directory, before: before?.children[name], depth: depth)
        }
        let own = isKnown ? before!.attributes : try attributes.all(of: .descriptor(directory.raw))
        return UpperEntry(status, attributes: own, children: children)
    }

    /// The names in a directory; of one that has not changed those that it had.
    private func names(
        in directory: borrowing Descriptor, _ known: UpperEntry?
    ) throws(SystemError) -> [[UInt8]] {
        if let known { return Array(known.children.keys) }
        var names: [[UInt8]] = []
        try DirectoryEntries(of: directory).forEach { (name, _) throws(SystemError) in
            names.append(bytes(of: name))
        }
        return names
    }

    private mutating func readEntry(
        _ name: [UInt8], in directory: borrowing Descriptor, before: UpperEntry?, depth: Int
    ) throws(SystemError) -> UpperEntry {
        entries += 1
        try count("files", entries <= UpperImage.mostEntries)
        let at = directory.raw
        let status = try entryStatus(name, in: at)
        if status.st_mode & S_IFMT == S_IFDIR {
            let child = try openDirectory(name, in: at)
            return try read(child, status, before: before, depth: depth + 1)
        }
        if let before, before.isSame(status), isSettled(before) {
            try take(status)
            return before
        }
        if status.st_mode & S_IFMT == S_IFCHR, status.st_rdev == 0 { return UpperEntry(status) }
        let path = name.map { CChar(bitPattern: $0) } + [0]
        let own = try path.withUnsafeBufferPointer { (name) throws(SystemError) in
            try attributes.all(of: .entry(name.baseAddress!, in: at))
        }
        return UpperEntry(status, attributes: own, content: try content(path, status, in: at))
    }

    private mutating func content(
        _ name: [CChar], _ status: stat, in directory: Int32
    ) throws(SystemError) -> FileContent {
        switch status.st_mode & S_IFMT {
        case S_IFREG:
            try take(status)
            if status.st_size == 0 { return .empty }
            let file = Descriptor(
                owning: try retrying("openat", printable(name)) {
                    openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME)
                })
            return try FileContent(of: file, size: Int(status.st_size), blocks: Int(status.st_blocks))
        case S_IFLNK:
            var target = [UInt8](repeating: 0, count: 4096)
            let length = try retrying("readlinkat", printable(name)) {
                target.withUnsafeMutableBytes { buffer in
                    readlinkat(
                        directory, name, buffer.baseAddress!.assumingMemoryBound(to: CChar.self), buffer.count
                    )
                }
            }
            return FileContent(target: Array(target.prefix(length)))
        default: return .empty
        }
    }

    private func isSettled(_ entry: UpperEntry) -> Bool { previous?.isSettled(entry) ?? false }

    private mutating func take(_ status: stat) throws(SystemError) {
        size += min(Int64(status.st_size), Int64(status.st_blocks) * 512)
        try count("bytes in files", size <= UpperImage.mostBytes)
    }

    private mutating func count(_ what: String, _ isWithin: Bool) throws(SystemError) {
        if isWithin { return }
        excess = "its files are too many for memory: \(what)"
        throw SystemError(call: "capture", code: E2BIG)
    }
}

/// The bytes of a C string.
func bytes(of name: UnsafePointer<CChar>) -> [UInt8] {
    UnsafeBufferPointer(start: name, count: strlen(name)).map { UInt8(bitPattern: $0) }
}

/// lstat(2) of a name in a directory.
func entryStatus(_ name: [UInt8], in directory: Int32) throws(SystemError) -> stat {
    let path = name.map { CChar(bitPattern: $0) } + [0]
    var status = stat()
    try retrying("fstatat", printable(path)) { fstatat(directory, path, &status, AT_SYMLINK_NOFOLLOW) }
    return status
}

/// Opens a directory in another, never through a link.
func openDirectory(_ name: [UInt8], in directory: Int32) throws(SystemError) -> Descriptor {
    let path = name.map { CChar(bitPattern: $0) } + [0]
    return Descriptor(
        owning: try retrying("openat", printable(path)) {
            openat(directory, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        })
}
