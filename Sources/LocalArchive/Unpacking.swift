import CArchive
import Glibc

/// The topmost entry of a tar stream, which comes first.
public struct ArchiveTop: Equatable, Sendable {
    /// Its name in the stream; bytes that are no UTF-8 are replaced.
    public var name: String { shown(bytes) }
    let bytes: [UInt8]
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
/// Names that are absolute or climb with `..` are refused, and nothing is written through a symbolic link, nor into
/// a filesystem that is a view of the kernel. Modes, times and the extended attributes of users are kept; set-uid
/// bits and device nodes are not, since what runs in a sandbox could otherwise hand a root shell to this machine.
///
/// - Parameters:
///   - keepingOwners: whether files get the owners that the stream names, by number; else they are the caller's.
///   - read: gives the next bytes, none at the end; what it throws ends the unpacking and is thrown on.
///   - place: says where the stream's topmost entry goes, once it is known.
/// - Returns: the entries that were left out, by name.
public func unpackArchive(
    from read: @escaping () throws -> [UInt8], keepingOwners: Bool = false,
    to place: (ArchiveTop) throws -> ArchivePlace
) throws -> [String] {
    let source = Source(read)
    return try source.withArchive { archive in
        var entry: OpaquePointer?
        guard try source.next(archive, &entry), let first = entry else {
            throw ArchiveError("the archive is empty")
        }
        let top = try topEntry(first)
        let place = try place(top)
        guard let directory = OpenFile.open(Array(place.directory.utf8), in: AT_FDCWD, O_PATH | O_DIRECTORY)
        else { throw ArchiveError("cannot unpack into \(place.directory): \(reason())") }
        let unpacker = Unpacker(
            top: try EntryName(top.bytes), directory: directory, name: place.name.map { Array($0.utf8) },
            keepsOwners: keepingOwners, source: source)
        return try unpacker.run(archive, from: first)
    }
}

/// Unpacks a tar stream in `directory`, which exists: every entry under its own name, and nothing elsewhere.
///
/// The same is refused, kept and left out as by `unpackArchive(from:to:)`; an archive without entries is fine.
///
/// - Returns: the entries that were left out, by name.
public func unpackArchive(
    from read: @escaping () throws -> [UInt8], keepingOwners: Bool = false, into directory: String
) throws -> [String] {
    guard let file = OpenFile.open(Array(directory.utf8), in: AT_FDCWD, O_PATH | O_DIRECTORY) else {
        throw ArchiveError("cannot unpack into \(directory): \(reason())")
    }
    return try unpackArchive(from: read, keepingOwners: keepingOwners, into: file.raw)
}

/// The same in a directory that is open, with or without the right to read it (open(2), O_PATH). The descriptor stays
/// the caller's.
public func unpackArchive(
    from read: @escaping () throws -> [UInt8], keepingOwners: Bool = false, into directory: Int32
) throws -> [String] {
    let source = Source(read)
    return try source.withArchive { archive in
        let copy = fcntl(directory, F_DUPFD_CLOEXEC, 3)
        guard copy >= 0 else { throw ArchiveError("cannot unpack: \(reason())") }
        let unpacker = Unpacker(
            top: try EntryName([46]), directory: OpenFile(owning: copy), name: nil,
            keepsOwners: keepingOwners,
            source: source)
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
        return try source.next(archive, &entry) ? try entry.map(topEntry) : nil
    }
}

private func topEntry(_ entry: OpaquePointer) throws -> ArchiveTop {
    ArchiveTop(
        bytes: try entryName(entry),
        isDirectory: archive_entry_filetype(entry) == S_IFDIR)
}

/// The name of an entry as it is in the stream. libarchive has only one of the two where the name does not fit the
/// locale, which is C here.
func entryName(_ entry: OpaquePointer) throws -> [UInt8] {
    guard let name = archive_entry_pathname(entry) ?? archive_entry_pathname_utf8(entry) else {
        throw ArchiveError("refused an entry of the archive: it has no name")
    }
    return Array(UnsafeRawBufferPointer(start: name, count: strlen(name)))
}

/// Where the stream comes from; libarchive's callback reaches it through a pointer.
final class Source {
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
