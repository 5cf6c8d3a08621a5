import CArchive
import Glibc

/// The topmost entry of a tar stream, which comes first.
public struct ArchiveTop: Equatable, Sendable {
    /// Its name in the stream.
    public let name: String
    /// Whether it is a directory.
    public let isDirectory: Bool
}

/// Where the topmost entry of a tar stream goes.
public struct ArchivePlace: Equatable, Sendable {
    /// A directory that exists.
    let directory: String
    /// The entry's new name in it; nil when the entry is to be that directory itself.
    let name: String?

    /// The entry goes into `directory` and is called `name`, a single path component, there.
    public init(in directory: String, as name: String) {
        precondition(!name.isEmpty && !name.contains("/") && name != "." && name != "..", "one component")
        self.directory = directory
        self.name = name
    }

    /// What the entry, a directory, contains goes into `directory`.
    public init(contentsIn directory: String) {
        self.directory = directory
        name = nil
    }
}

/// Unpacks a tar stream at one place, and nowhere else.
///
/// Names that are absolute or climb with `..` are refused, and nothing is written through a symbolic link.
/// Modes and times are kept; owners, set-uid bits and device nodes are not, since what runs in a sandbox
/// could otherwise hand a root shell to this machine.
///
/// - Parameters:
///   - read: gives the next bytes, none at the end; what it throws ends the unpacking and is thrown on.
///   - place: says where the stream's topmost entry goes, once it is known.
/// - Returns: the entries that were left out, by name.
public func unpackArchive(
    from read: @escaping () throws -> [UInt8], to place: (ArchiveTop) throws -> ArchivePlace
) throws -> [String] {
    let source = Source(read)
    return try source.withArchive { archive in
        var entry: OpaquePointer?
        guard try source.next(archive, &entry), let first = entry else {
            throw ArchiveError("the archive is empty")
        }
        let top = topEntry(first)
        let place = try place(top)
        var unpacker = try Unpacker(
            top: EntryName(top.name), directory: place.directory, name: place.name, source: source)
        return try unpacker.run(archive, from: first)
    }
}

/// Unpacks a tar stream in `directory`, which exists: every entry under its own name, and nothing elsewhere.
///
/// The same is refused, kept and left out as by `unpackArchive(from:to:)`; an archive without entries is fine.
///
/// - Returns: the entries that were left out, by name.
public func unpackArchive(
    from read: @escaping () throws -> [UInt8], into directory: String
) throws -> [String] {
    let source = Source(read)
    return try source.withArchive { archive in
        var unpacker = try Unpacker(top: EntryName("."), directory: directory, name: nil, source: source)
        var entry: OpaquePointer?
        guard try source.next(archive, &entry), let first = entry else { return [] }
        return try unpacker.run(archive, from: first)
    }
}

/// The topmost entry of a tar stream; nil for an empty stream.
///
/// - Parameter read: gives the next bytes, none at the end.
public func archiveTop(from read: @escaping () throws -> [UInt8]) throws -> ArchiveTop? {
    let source = Source(read)
    return try source.withArchive { archive in
        var entry: OpaquePointer?
        return try source.next(archive, &entry) ? entry.map(topEntry) : nil
    }
}

private func topEntry(_ entry: OpaquePointer) -> ArchiveTop {
    ArchiveTop(
        name: String(cString: archive_entry_pathname(entry)),
        isDirectory: archive_entry_filetype(entry) == S_IFDIR)
}

/// Where the stream comes from; libarchive's callback reaches it through a pointer.
private final class Source {
    let read: () throws -> [UInt8]
    var failure: (any Error)?
    /// Whether libarchive has asked for more than there was.
    private var ended = false
    /// libarchive reads from here until it asks for more.
    var piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 0, alignment: 1)

    init(_ read: @escaping () throws -> [UInt8]) { self.read = read }
    deinit { piece.deallocate() }

    func withArchive<Result>(_ body: (OpaquePointer) throws -> Result) throws -> Result {
        guard let archive = archive_read_new() else { throw ArchiveError("out of memory") }
        defer { archive_read_free(archive) }
        archive_read_support_format_tar(archive)
        archive_read_support_format_empty(archive)
        guard
            archive_read_open(archive, Unmanaged.passUnretained(self).toOpaque(), nil, fetchPiece, nil)
                == ARCHIVE_OK
        else { throw failure ?? ArchiveError("cannot read the archive", archive) }
        return try withExtendedLifetime(self) { try body(archive) }
    }

    func next(_ archive: OpaquePointer, _ entry: inout OpaquePointer?) throws -> Bool {
        switch archive_read_next_header(archive, &entry) {
        case ARCHIVE_EOF:
            // libarchive takes the end of the stream for the end of the archive. Two empty blocks are that
            // (pax(1)), and after those it reads no further.
            if ended { throw ArchiveError("the archive breaks off before its end") }
            return false
        case ARCHIVE_OK, ARCHIVE_WARN: return true
        default: throw failure ?? ArchiveError("cannot read the archive", archive)
        }
    }

    func fetch() throws -> UnsafeMutableRawBufferPointer {
        let bytes = try read()
        ended = bytes.isEmpty
        piece.deallocate()
        piece = .allocate(byteCount: bytes.count, alignment: 1)
        piece.copyBytes(from: bytes)
        return piece
    }
}

/// libarchive's archive_read_callback.
private func fetchPiece(
    _ archive: OpaquePointer?, _ context: UnsafeMutableRawPointer?,
    _ result: UnsafeMutablePointer<UnsafeRawPointer?>?
) -> Int {
    let source = Unmanaged<Source>.fromOpaque(context!).takeUnretainedValue()
    do {
        let piece = try source.fetch()
        result?.pointee = UnsafeRawPointer(piece.baseAddress)
        return piece.count
    } catch {
        source.failure = error
        return -1
    }
}

private struct Unpacker {
    let top: EntryName
    let destination: String
    let keepsDestination: Bool
    let source: Source
    var leftOut: [String] = []

    init(top: EntryName, directory: String, name: String?, source: Source) throws {
        guard let resolved = realpath(directory, nil) else {
            throw ArchiveError("cannot unpack into \(directory): \(String(cString: strerror(errno)))")
        }
        defer { free(resolved) }
        let directory = String(cString: resolved)
        destination = name.map { "\(directory)/\($0)" } ?? directory
        keepsDestination = name == nil
        self.top = top
        self.source = source
    }

    mutating func run(_ archive: OpaquePointer, from first: OpaquePointer) throws -> [String] {
        guard let disk = archive_write_disk_new() else { throw ArchiveError("out of memory") }
        defer { archive_write_free(disk) }
        // The directory is resolved already, so any symbolic link that is met came with the stream or lies
        // in its way.
        archive_write_disk_set_options(
            disk,
            ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_SECURE_SYMLINKS
                | ARCHIVE_EXTRACT_SECURE_NODOTDOT)
        var entry: OpaquePointer? = first
        repeat {
            guard let current = entry else { break }
            let name = String(cString: archive_entry_pathname(current))
            if try place(current, named: name) { try copy(current, named: name, from: archive, to: disk) }
        } while try source.next(archive, &entry)
        // The times of directories are set here, after everything in them has been written.
        guard archive_write_close(disk) == ARCHIVE_OK else { throw ArchiveError("cannot finish", disk) }
        return leftOut
    }

    /// Points an entry at its place here; false when it is not to be made.
    private mutating func place(_ entry: OpaquePointer, named name: String) throws -> Bool {
        let parsed = try EntryName(name)
        archive_entry_set_pathname(entry, try parsed.path(replacing: top, by: destination))
        if let link = archive_entry_hardlink(entry) {
            let target = try EntryName(String(cString: link)).path(replacing: top, by: destination)
            archive_entry_set_hardlink(entry, target)
            return true
        }
        switch archive_entry_filetype(entry) {
        case S_IFDIR where parsed == top && keepsDestination: return false
        case S_IFREG, S_IFDIR:
            archive_entry_set_perm(entry, archive_entry_perm(entry) & 0o1777)
            return true
        case S_IFLNK, S_IFIFO: return true
        default:
            leftOut.append(name)
            return false
        }
    }

    private func copy(
        _ entry: OpaquePointer, named name: String, from archive: OpaquePointer, to disk: OpaquePointer
    ) throws {
        guard archive_write_header(disk, entry) >= ARCHIVE_WARN else {
            throw ArchiveError("cannot unpack \(name)", disk)
        }
        while true {
            var block: UnsafeRawPointer?
            var size = 0
            var offset: Int64 = 0
            let status = archive_read_data_block(archive, &block, &size, &offset)
            if status == ARCHIVE_EOF { break }
            guard status >= ARCHIVE_WARN else {
                throw source.failure ?? ArchiveError("cannot read \(name) in the archive", archive)
            }
            guard archive_write_data_block(disk, block, size, offset) >= ARCHIVE_WARN else {
                throw ArchiveError("cannot write \(name)", disk)
            }
        }
        guard archive_write_finish_entry(disk) >= ARCHIVE_WARN else {
            throw ArchiveError("cannot finish \(name)", disk)
        }
    }
}
