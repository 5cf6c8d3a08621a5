import CArchive
import CLinux
import Glibc

/// Makes a tar stream (pax) of a local file or directory and hands it to `write` piece by piece.
///
/// Symbolic links are kept as links; hard links, holes and the extended attributes of users are kept; sockets are
/// left out because tar has none. What the name leads to is found once and then only reached through descriptors: a
/// tree that changes meanwhile leads nowhere else, and neither a FIFO nor a device is ever opened.
///
/// - Parameters:
///   - path: the file or directory.
///   - name: what it is called in the stream; empty for a directory's contents alone.
///   - keepingOwners: whether the stream has the owners, as numbers; else everything belongs to root in it.
///   - write: takes the next bytes; what it throws ends the packing and is thrown on.
public func packArchive(
    of path: String, named name: String, keepingOwners: Bool = false,
    write: @escaping (UnsafeRawBufferPointer) throws -> Void
) throws {
    let follow = path.hasSuffix("/") || path.hasSuffix("/.") ? 0 : O_NOFOLLOW
    guard let file = OpenFile.open(Array(path.utf8), in: AT_FDCWD, O_PATH | follow) else {
        throw ArchiveError("cannot read \(path): \(reason())")
    }
    try Packer(path: path, keepsOwners: keepingOwners, sink: Sink(write)).run(file, named: Array(name.utf8))
}

/// The same of a file that is open already, with or without the right to read it (open(2), O_PATH); `path` is what
/// errors call it. The descriptor stays the caller's.
public func packArchive(
    at handle: Int32, path: String, named name: String, keepingOwners: Bool = false,
    write: @escaping (UnsafeRawBufferPointer) throws -> Void
) throws {
    let copy = fcntl(handle, F_DUPFD_CLOEXEC, 3)
    guard copy >= 0 else { throw ArchiveError("cannot read \(path): \(reason())") }
    try Packer(path: path, keepsOwners: keepingOwners, sink: Sink(write)).run(
        OpenFile(owning: copy), named: Array(name.utf8))
}

/// Where the stream goes; libarchive's callback reaches it through a pointer.
private final class Sink {
    let write: (UnsafeRawBufferPointer) throws -> Void
    var failure: (any Error)?
    init(_ write: @escaping (UnsafeRawBufferPointer) throws -> Void) { self.write = write }
}

private final class Packer {
    /// Directories below each other at most: each takes a descriptor while it is read.
    private static let depthLimit = 400
    /// The most that is kept in memory of a file whose size is only known once it was read.
    private static let kernelFileLimit = 64 << 20

    private let path: String
    private let keepsOwners: Bool
    private let sink: Sink
    private var links = HardLinks()
    private let out: OpaquePointer
    private let entry: OpaquePointer

    init(path: String, keepsOwners: Bool, sink: Sink) throws {
        guard let out = archive_write_new(), let entry = archive_entry_new() else {
            throw ArchiveError("out of memory")
        }
        self.path = path
        self.keepsOwners = keepsOwners
        self.sink = sink
        self.out = out
        self.entry = entry
    }

    deinit {
        archive_entry_free(entry)
        archive_write_free(out)
    }

    func run(_ file: OpenFile, named name: [UInt8]) throws {
        archive_write_set_format_pax_restricted(out)
        archive_write_set_bytes_in_last_block(out, 1)
        guard
            archive_write_open(out, Unmanaged.passUnretained(sink).toOpaque(), nil, sendPiece, nil)
                == ARCHIVE_OK
        else { throw ArchiveError("cannot begin the archive", out) }
        do {
            try add(file, name, depth: 0)
        } catch {
            // Freeing an archive ends it properly; one that is incomplete has to break off instead.
            archive_write_fail(out)
            throw error
        }
        guard archive_write_close(out) == ARCHIVE_OK else { throw failure("cannot end the archive") }
    }

    private func add(_ file: OpenFile, _ name: [UInt8], depth: Int) throws {
        guard let status = file.status else { throw unreadable(name) }
        switch status.st_mode & S_IFMT {
        case S_IFDIR:
            if !name.isEmpty { try addHeader(file, status, name, directory: true) }
            try addContents(of: file, name, depth: depth)
        case S_IFREG: try addRegular(file, status, name, depth: depth)
        case S_IFSOCK: break
        default: try addHeader(file, status, name)
        }
    }

    private func addContents(of directory: OpenFile, _ name: [UInt8], depth: Int) throws {
        guard depth < Self.depthLimit else {
            throw ArchiveError("cannot read \(path): directories lie more than \(Self.depthLimit) deep in it")
        }
        for child in try names(in: directory, name) {
            guard let file = OpenFile.open(child, in: directory.raw, O_PATH | O_NOFOLLOW) else {
                if errno == ENOENT { continue }  // it has gone since
                throw unreadable(name + [47] + child)
            }
            try add(file, name.isEmpty ? child : name + [47] + child, depth: depth + 1)
        }
    }

    private func names(in directory: OpenFile, _ name: [UInt8]) throws -> [[UInt8]] {
        let number = openat(directory.raw, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard number >= 0, let stream = fdopendir(number) else { throw unreadable(name) }
        defer { closedir(stream) }
        var names: [[UInt8]] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if name != [46], name != [46, 46] { names.append(name) }
        }
        return names
    }

    private func addHeader(
        _ file: OpenFile, _ status: stat, _ name: [UInt8], directory: Bool = false, size: Int64? = nil,
        hardLink: [UInt8]? = nil, holesOf data: OpenFile? = nil
    ) throws {
        archive_entry_clear(entry)
        var status = status
        archive_entry_copy_stat(entry, &status)
        withName(name) { archive_entry_copy_pathname(entry, $0) }
        if !keepsOwners {
            archive_entry_set_uid(entry, 0)
            archive_entry_set_gid(entry, 0)
        }
        if status.st_mode & S_IFMT == S_IFLNK { try addTarget(of: file, name) }
        if let hardLink {
            withName(hardLink) { archive_entry_copy_hardlink(entry, $0) }
            archive_entry_unset_size(entry)
        } else if let size {
            archive_entry_set_size(entry, size)
        }
        let attributed = directory ? OpenFile.open([46], in: file.raw, O_RDONLY | O_DIRECTORY) : data
        for (attribute, value) in attributed?.userAttributes ?? [] {
            archive_entry_xattr_add_entry(entry, attribute, value, value.count)
        }
        if let data, hardLink == nil { addHoles(of: data, status) }
        guard archive_write_header(out, entry) >= ARCHIVE_WARN else {
            throw failure("cannot archive \(shown(name))")
        }
    }

    private func addTarget(of file: OpenFile, _ name: [UInt8]) throws {
        var target = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        guard readlinkat(file.raw, "", &target, Int(PATH_MAX)) >= 0 else { throw unreadable(name) }
        archive_entry_copy_symlink(entry, target)
    }

    /// Says where the data lie in a file that has holes (lseek(2), SEEK_DATA).
    private func addHoles(of data: OpenFile, _ status: stat) {
        guard Int64(status.st_blocks) * 512 < Int64(status.st_size) else { return }
        var at: off_t = 0
        while at < status.st_size {
            let start = lseek(data.raw, at, SEEK_DATA)
            guard start >= 0 else { break }
            let end = lseek(data.raw, start, SEEK_HOLE)
            guard end > start else { break }
            archive_entry_sparse_add_entry(entry, Int64(start), Int64(min(end, status.st_size) - start))
            at = end
        }
        // Nothing but a hole.
        if at == 0 { archive_entry_sparse_add_entry(entry, Int64(status.st_size), 0) }
        lseek(data.raw, 0, SEEK_SET)
    }

    private func addRegular(_ file: OpenFile, _ status: stat, _ name: [UInt8], depth: Int) throws {
        if let first = links.first(of: status, named: name) {
            return try addHeader(file, status, name, hardLink: first)
        }
        guard let data = file.reopened(O_RDONLY | O_NONBLOCK) else { throw unreadable(name) }
        if status.st_size == 0, data.isKernelView {
            return try addKernelFile(data, status, name, depth: depth)
        }
        try addHeader(file, status, name, size: Int64(status.st_size), holesOf: data)
        try copyData(from: data, Int64(status.st_size), name)
    }

    /// The size of a file of /proc is only known once it was read.
    private func addKernelFile(_ data: OpenFile, _ status: stat, _ name: [UInt8], depth: Int) throws {
        var bytes: [UInt8] = []
        while bytes.count < Self.kernelFileLimit {
            let piece = read(data, 65536)
            guard let piece else {
                // Some cannot be read by anybody; that is only worth an error where it was asked for.
                if depth > 0 { return }
                throw unreadable(name)
            }
            if piece.isEmpty { break }
            bytes += piece
        }
        try addHeader(data, status, name, size: Int64(bytes.count))
        try bytes.withUnsafeBytes { if !$0.isEmpty { try send($0, name) } }
    }

    private func read(_ file: OpenFile, _ limit: Int) -> [UInt8]? {
        var failed = false
        let bytes = [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
            while true {
                let got = Glibc.read(file.raw, buffer.baseAddress, limit)
                if got < 0, errno == EINTR { continue }
                failed = got < 0
                count = max(got, 0)
                return
            }
        }
        return failed ? nil : bytes
    }

    /// Copies as much as the header has announced; libarchive fills up what is missing of a file that has shrunk.
    private func copyData(from file: OpenFile, _ size: Int64, _ name: [UInt8]) throws {
        var left = size
        while left > 0 {
            guard let piece = read(file, Int(min(left, 262_144))) else { throw unreadable(name) }
            if piece.isEmpty { return }
            try piece.withUnsafeBytes { try send($0, name) }
            left -= Int64(piece.count)
        }
    }

    private func send(_ bytes: UnsafeRawBufferPointer, _ name: [UInt8]) throws {
        guard archive_write_data(out, bytes.baseAddress, bytes.count) == bytes.count else {
            throw failure("cannot archive \(shown(name))")
        }
    }

    private func unreadable(_ name: [UInt8]) -> ArchiveError {
        let why = reason()
        return ArchiveError("cannot read \(name.isEmpty ? path : shown(name)): \(why)")
    }

    /// What the receiver threw, or what libarchive says.
    private func failure(_ doing: String) -> any Error { sink.failure ?? ArchiveError(doing, out) }
}

/// libarchive's archive_write_callback.
private func sendPiece(
    _ archive: OpaquePointer?, _ context: UnsafeMutableRawPointer?, _ bytes: UnsafeRawPointer?, _ count: Int
) -> Int {
    let sink = Unmanaged<Sink>.fromOpaque(context!).takeUnretainedValue()
    do {
        try sink.write(UnsafeRawBufferPointer(start: bytes, count: count))
        return count
    } catch {
        sink.failure = error
        return -1
    }
}

/// Remembers under which name a file with several links went first.
private struct HardLinks {
    private struct File: Hashable {
        let device: UInt64
        let inode: UInt64
    }
    private var names: [File: [UInt8]] = [:]

    mutating func first(of status: stat, named name: [UInt8]) -> [UInt8]? {
        guard status.st_nlink > 1 else { return nil }
        let file = File(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
        if let first = names[file] { return first }
        names[file] = name
        return nil
    }
}
