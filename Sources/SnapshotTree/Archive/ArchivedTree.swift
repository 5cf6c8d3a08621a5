import Glibc
import LinuxSystem
import LocalArchive

/// Writes a directory tree of the store into an archive: every file with all that its digest list knows of it.
struct ArchivedTree: TreeVisitor {
    /// Where the files with several names went first, by inode.
    final class FirstNames {
        fileprivate var names: [DigestWalk.Inode: [UInt8]] = [:]
    }

    private let writer: ArchiveWriter?
    private let firstNames: FirstNames
    private let attributes = ExtendedAttributes()
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 4096)
    /// The name of the directory that the walk is in, with a slash at its end.
    private var path: [UInt8]
    private var lengths: [Int] = []
    private var failure: SnapshotTreeError?
    private let done: WorkCount?

    /// Writes the tree at `root`. Names that the archive has for a file already become hard links. Bytes of regular
    /// files are added to `done`.
    static func write(
        _ tree: ArchiveTree, at root: borrowing Descriptor, to writer: ArchiveWriter,
        _ firstNames: FirstNames, counting done: WorkCount
    ) throws(SnapshotTreeError) {
        var walk = ArchivedTree(tree, writer, firstNames, done)
        defer { walk.buffer.deallocate() }
        let status = try wrapping { () throws(SystemError) in try root.status() }
        var entry = file(named: Array(tree.path.utf8), status)
        entry.attributes = try wrapping { () throws(SystemError) in
            try walk.attributes.all(of: .descriptor(root.raw))
        }
        try writing { () throws(ArchiveError) in try writer.add(entry) }
        try walk.run(root)
    }

    /// Only notes the names of files that have several, for a tree that the receiver has.
    static func note(
        _ tree: ArchiveTree, at root: borrowing Descriptor, _ firstNames: FirstNames
    ) throws(SnapshotTreeError) {
        var walk = ArchivedTree(tree, nil, firstNames, nil)
        defer { walk.buffer.deallocate() }
        try walk.run(root)
    }

    private init(
        _ tree: ArchiveTree, _ writer: ArchiveWriter?, _ firstNames: FirstNames, _ done: WorkCount?
    ) {
        self.writer = writer
        self.done = done
        self.firstNames = firstNames
        path = Array("\(tree.path)/".utf8)
    }

    private mutating func run(_ root: borrowing Descriptor) throws(SnapshotTreeError) {
        do throws(SystemError) { try TreeWalk.walk(root, &self) } catch {
            throw failure ?? SnapshotTreeError(error)
        }
    }

    mutating func file(_ name: UnsafePointer<CChar>, type: UInt8, in directory: Int32) throws(SystemError) {
        var status = stat()
        try retrying("fstatat", printable(name)) { fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) }
        let isWhiteout = status.st_mode & S_IFMT == S_IFCHR && status.st_rdev == 0
        var entry = Self.file(named: path + Self.bytes(name), status)
        if status.st_nlink > 1, !isWhiteout {
            let inode = DigestWalk.Inode(device: status.st_dev, number: status.st_ino)
            entry.hardLink = firstNames.names[inode]
            if entry.hardLink == nil { firstNames.names[inode] = entry.name }
        }
        guard let writer else { return }
        if entry.hardLink != nil {
            done?.add(entry.size)
            entry.size = 0
            return try passing { () throws(ArchiveError) in try writer.add(entry) }
        }
        entry.attributes = try attributes.all(of: .entry(name, in: directory))
        switch status.st_mode & S_IFMT {
        case S_IFREG: return try addData(entry, name, status, in: directory, to: writer)
        case S_IFLNK: entry.target = try Self.target(of: name, in: directory)
        case S_IFSOCK:
            // Tar has none: the digest list says what it is.
            entry.mode = UInt32(S_IFREG) | entry.mode & 0o7777
        default: break
        }
        try passing { () throws(ArchiveError) in try writer.add(entry) }
    }

    mutating func enter(
        _ name: UnsafePointer<CChar>, in parent: Int32, opened: Int32
    ) throws(SystemError) -> Bool {
        lengths.append(path.count)
        path += Self.bytes(name)
        if let writer {
            var status = stat()
            try retrying("fstat", printable(name)) { fstat(opened, &status) }
            var entry = Self.file(named: path, status)
            entry.attributes = try attributes.all(of: .descriptor(opened))
            try passing { () throws(ArchiveError) in try writer.add(entry) }
        }
        path.append(UInt8(ascii: "/"))
        return true
    }

    mutating func leave(_ name: UnsafePointer<CChar>, in parent: Int32) throws(SystemError) {
        path.removeLast(path.count - lengths.removeLast())
    }

    private mutating func addData(
        _ entry: ArchivedFile, _ name: UnsafePointer<CChar>, _ status: stat, in directory: Int32,
        to writer: ArchiveWriter
    ) throws(SystemError) {
        let flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
        var raw = openat(directory, name, flags | O_NOATIME)
        if raw < 0 { raw = try retrying("openat", printable(name)) { openat(directory, name, flags) } }
        let file = Descriptor(owning: raw)
        let holes = try Self.holes(of: file, status)
        try passing { () throws(ArchiveError) in try writer.add(entry, holes: holes) }
        var at: Int64 = 0
        for hole in holes + [entry.size..<entry.size] {
            try copy(from: file, at..<hole.lowerBound, printable(name), to: writer)
            try passing { () throws(ArchiveError) in try writer.skip(hole.upperBound - hole.lowerBound) }
            done?.add(hole.upperBound - hole.lowerBound)
            at = hole.upperBound
        }
    }

    private mutating func copy(
        from file: borrowing Descriptor, _ range: Range<Int64>, _ name: String, to writer: ArchiveWriter
    ) throws(SystemError) {
        var at = range.lowerBound
        let number = file.raw
        while at < range.upperBound {
            let wanted = Int(min(Int64(buffer.count), range.upperBound - at))
            let got = try retrying("pread", name) { pread(number, buffer.baseAddress, wanted, off_t(at)) }
            guard got > 0 else {
                throw SystemError(call: "pread", code: EIO, subject: "\(name) is shorter now")
            }
            let bytes = UnsafeRawBufferPointer(start: buffer.baseAddress, count: got)
            try passing { () throws(ArchiveError) in try writer.write(bytes) }
            done?.add(Int64(got))
            at += Int64(got)
        }
    }

    /// Keeps what the archive says; the walk knows errors of the kernel only.
    private mutating func passing(_ body: () throws(ArchiveError) -> Void) throws(SystemError) {
        do throws(ArchiveError) { try body() } catch {
            failure = .notArchived(error.description)
            throw SystemError(call: "archive", code: EPIPE)
        }
    }

    // MARK: - What a file is

    private static func file(named name: [UInt8], _ status: stat) -> ArchivedFile {
        var file = ArchivedFile(name: name, mode: status.st_mode)
        (file.owner, file.group) = (status.st_uid, status.st_gid)
        file.size = status.st_mode & S_IFMT == S_IFREG ? Int64(status.st_size) : 0
        let isDevice = [S_IFCHR, S_IFBLK].contains(status.st_mode & S_IFMT)
        file.device = isDevice ? UInt64(status.st_rdev) : 0
        file.modified = ArchivedFile.Time(
            seconds: status.st_mtim.tv_sec, nanoseconds: status.st_mtim.tv_nsec)
        file.accessed = ArchivedFile.Time(
            seconds: status.st_atim.tv_sec, nanoseconds: status.st_atim.tv_nsec)
        return file
    }

    private static func bytes(_ name: UnsafePointer<CChar>) -> [UInt8] {
        Array(UnsafeRawBufferPointer(start: name, count: strlen(name)))
    }

    /// Where a file has no data (lseek(2), SEEK_DATA).
    private static func holes(
        of file: borrowing Descriptor, _ status: stat
    ) throws(SystemError) -> [Range<Int64>] {
        let size = Int64(status.st_size)
        guard Int64(status.st_blocks) * 512 < size else { return [] }
        var holes: [Range<Int64>] = []
        var at: Int64 = 0
        while at < size {
            let start = lseek(file.raw, off_t(at), SEEK_DATA)
            if start < 0 {
                guard errno == ENXIO else { throw .last("lseek") }
                holes.append(at..<size)
                break
            }
            if Int64(start) > at { holes.append(at..<Int64(start)) }
            let end = lseek(file.raw, start, SEEK_HOLE)
            guard end > start else { throw .last("lseek") }
            at = Int64(end)
        }
        return holes
    }

    private static func target(
        of name: UnsafePointer<CChar>, in directory: Int32
    ) throws(SystemError) -> [UInt8] {
        var failure: SystemError?
        let target = [UInt8](unsafeUninitializedCapacity: Int(PATH_MAX)) { buffer, count in
            do throws(SystemError) {
                count = try retrying("readlinkat", printable(name)) {
                    buffer.withMemoryRebound(to: CChar.self) {
                        readlinkat(directory, name, $0.baseAddress!, Int(PATH_MAX))
                    }
                }
            } catch { failure = error }
        }
        if let failure { throw failure }
        return target
    }
}

/// Turns an archive's error into the tree's.
func writing<Result>(_ body: () throws(ArchiveError) -> Result) throws(SnapshotTreeError) -> Result {
    do { return try body() } catch { throw .notArchived(error.description) }
}
