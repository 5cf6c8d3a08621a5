import Digests
import Glibc
import LinuxSystem

/// Reads a directory tree and makes its digest list.
struct DigestWalk: TreeVisitor {
    /// A file whatever its name.
    struct Inode: Hashable {
        let device: dev_t
        let number: ino_t
    }

    private(set) var list = DigestList()
    /// The inodes of files with several names, and those of all that could not be read.
    private(set) var linked: [String: Inode] = [:]
    private(set) var unreadable: [String: SystemError] = [:]
    /// Files that were read, and their bytes.
    private(set) var files = 0
    private(set) var bytes: Int64 = 0
    /// The digests of files with several names, those that were read before included.
    private(set) var contents: [Inode: Digest]

    private let keepsTimes: Bool
    /// Digests that need not be made again.
    private let known: (String, stat) -> Digest?
    private let read: WorkCount?
    private let attributes = ExtendedAttributes()
    private var path = ""
    private var lengths: [Int] = []

    /// Reads the tree below `root`. Files that cannot be read are noted, not thrown.
    ///
    /// `keepsTimes` is for trees whose times are content. `known` may spare reading a file; `contents` are the digests
    /// of inodes that were read before.
    static func read(
        _ root: borrowing Descriptor, keepsTimes: Bool, contents: [Inode: Digest] = [:],
        counting read: WorkCount? = nil, known: @escaping (String, stat) -> Digest? = { _, _ in nil }
    ) throws(SystemError) -> DigestWalk {
        var walk = DigestWalk(keepsTimes: keepsTimes, contents: contents, counting: read, known: known)
        try walk.note(".", try root.status(), at: .descriptor(root.raw), content: nil)
        try TreeWalk.walk(root, &walk)
        return walk
    }

    private init(
        keepsTimes: Bool, contents: [Inode: Digest], counting read: WorkCount?,
        known: @escaping (String, stat) -> Digest?
    ) {
        self.read = read
        self.keepsTimes = keepsTimes
        self.contents = contents
        self.known = known
    }

    mutating func file(
        _ name: UnsafePointer<CChar>, type: UInt8, in directory: Int32
    ) throws(SystemError) {
        var status = stat()
        try retrying("fstatat", printable(name)) { fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) }
        let place = path + DigestList.escaped(name)
        do throws(SystemError) {
            let content = try content(of: name, place, status, in: directory)
            try note(place, status, at: .entry(name, in: directory), content: content)
        } catch {
            unreadable[place] = error
        }
    }

    mutating func enter(
        _ name: UnsafePointer<CChar>, in parent: Int32, opened: Int32
    ) throws(SystemError) -> Bool {
        var status = stat()
        try retrying("fstat", printable(name)) { fstat(opened, &status) }
        lengths.append(path.utf8.count)
        path += DigestList.escaped(name)
        try note(path, status, at: .descriptor(opened), content: nil)
        path += "/"
        return true
    }

    mutating func leave(_ name: UnsafePointer<CChar>, in parent: Int32) throws(SystemError) {
        path = String(path.utf8.prefix(lengths.removeLast()))!
    }

    private mutating func note(
        _ place: String, _ status: stat, at attributesPlace: ExtendedAttributes.Place, content: Digest?
    ) throws(SystemError) {
        let type = status.st_mode & S_IFMT
        let size: Int64 =
            switch type {
            case S_IFREG, S_IFLNK: Int64(status.st_size)
            case S_IFCHR, S_IFBLK: Int64(bitPattern: UInt64(status.st_rdev))
            default: 0
            }
        let isWhiteout = type == S_IFCHR && status.st_rdev == 0
        // Anybody may set a time that is centuries away; it wraps, and still tells one from another.
        let time = Int64(status.st_mtim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_mtim.tv_nsec)
        list.entries[place] = DigestList.Entry(
            mode: status.st_mode, owner: status.st_uid, group: status.st_gid, size: size,
            // Whiteouts may share an inode, whose times mean nothing.
            modified: keepsTimes && !isWhiteout ? time : 0, content: content,
            attributes: try attributes.digest(of: attributesPlace))
    }

    private mutating func content(
        of name: UnsafePointer<CChar>, _ place: String, _ status: stat, in directory: Int32
    ) throws(SystemError) -> Digest? {
        switch status.st_mode & S_IFMT {
        case S_IFLNK: return try Self.target(of: name, in: directory)
        case S_IFREG: break
        default: return nil
        }
        let inode = Inode(device: status.st_dev, number: status.st_ino)
        if status.st_nlink > 1 { linked[place] = inode }
        if status.st_nlink > 1, let read = contents[inode] { return read }
        let digest: Digest
        if let known = known(place, status) {
            digest = known
        } else {
            digest = try Self.content(of: name, in: directory, counting: read)
            files += 1
            bytes += Int64(status.st_size)
        }
        if status.st_nlink > 1 { contents[inode] = digest }
        return digest
    }

    /// The digest of a file's bytes. Of holes it is known without reading that they are zeros.
    static func content(
        of name: UnsafePointer<CChar>, in directory: Int32, counting read: WorkCount? = nil
    ) throws(SystemError) -> Digest {
        let flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
        var raw = openat(directory, name, flags | O_NOATIME)
        if raw < 0 { raw = try retrying("openat", printable(name)) { openat(directory, name, flags) } }
        let file = Descriptor(owning: raw)
        let status = try file.status()
        if status.st_size < shortest, let digest = try small(file, name, counting: read) { return digest }
        let hash = DigestStream()
        let size = 1 << 18
        let buffer = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 4096)
        defer { buffer.deallocate() }
        let isSparse = Int64(status.st_blocks) * 512 < Int64(status.st_size)
        var (at, dataEnd) = (Int64(0), Int64(0))
        while true {
            if isSparse, at == dataEnd, at < status.st_size {
                let data = try data(in: file, from: at, size: Int64(status.st_size))
                hash.update(zeros: Int(data.lowerBound - at))
                read?.add(data.lowerBound - at)
                (at, dataEnd) = (data.lowerBound, data.upperBound)
            }
            let most = at < dataEnd ? Int(min(dataEnd - at, Int64(size))) : size
            let got = try retrying("pread", printable(name)) { pread(file.raw, buffer, most, off_t(at)) }
            if got == 0 { return hash.digest }
            hash.update(UnsafeRawBufferPointer(start: buffer, count: got))
            read?.add(Int64(got))
            at += Int64(got)
        }
    }

    /// Files below this are read by one call, in bytes.
    private static let shortest = 1 << 14

    /// The digest of a file that one short read tells whole; nil of one that has grown.
    private static func small(
        _ file: borrowing Descriptor, _ name: UnsafePointer<CChar>, counting read: WorkCount?
    ) throws(SystemError) -> Digest? {
        let raw = file.raw
        return try withUnsafeTemporaryAllocation(byteCount: shortest, alignment: 16) {
            (buffer) throws(SystemError) in
            let got = try retrying("pread", printable(name)) {
                pread(raw, buffer.baseAddress, buffer.count, 0)
            }
            if got == shortest { return nil }
            read?.add(Int64(got))
            return Digest(of: UnsafeRawBufferPointer(rebasing: buffer[..<got]))
        }
    }

    /// Where the next data lie (lseek(2), SEEK_DATA); at the end nothing.
    private static func data(
        in file: borrowing Descriptor, from at: Int64, size: Int64
    ) throws(SystemError) -> Range<Int64> {
        let start = lseek(file.raw, off_t(at), SEEK_DATA)
        if start < 0 {
            guard errno == ENXIO else { throw .last("lseek(SEEK_DATA)") }
            return size..<size
        }
        let raw = file.raw
        return Int64(start)..<Int64(try retrying("lseek(SEEK_HOLE)") { lseek(raw, start, SEEK_HOLE) })
    }

    private static func target(
        of name: UnsafePointer<CChar>, in directory: Int32
    ) throws(SystemError) -> Digest {
        let target = UnsafeMutablePointer<CChar>.allocate(capacity: Int(PATH_MAX))
        defer { target.deallocate() }
        let length = try retrying("readlinkat", printable(name)) {
            readlinkat(directory, name, target, Int(PATH_MAX))
        }
        return Digest(of: UnsafeRawBufferPointer(start: target, count: length))
    }
}
