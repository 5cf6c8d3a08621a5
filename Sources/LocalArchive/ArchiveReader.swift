import CArchive
import Glibc

/// Reads a tar stream, plain or compressed with zstd, entry by entry.
///
/// Nothing is made of an entry here, and no name in it is believed: that is for the caller. Used by one thread.
public final class ArchiveReader {
    /// Gives the next bytes of the stream, none at its end.
    public typealias Input = () throws -> [UInt8]

    private final class Source {
        let read: Input
        var failure: (any Error)?
        /// libarchive reads from here until it asks for more.
        var piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 0, alignment: 1)

        init(_ read: @escaping Input) { self.read = read }
        deinit { piece.deallocate() }
    }

    private let source: Source
    private let archive: OpaquePointer

    /// Begins to read.
    public init(read: @escaping Input) throws(ArchiveError) {
        guard let archive = archive_read_new() else { throw ArchiveError("out of memory") }
        self.archive = archive
        source = Source(read)
        archive_read_support_filter_zstd(archive)
        archive_read_support_format_tar(archive)
        let context = Unmanaged.passUnretained(source).toOpaque()
        guard archive_read_open(archive, context, nil, Self.fetch, nil) == ARCHIVE_OK else {
            throw failure("it is no tar stream")
        }
    }

    deinit { archive_read_free(archive) }

    /// The next entry; nil at the end of the archive. Data that were not asked for are passed over.
    public func next() throws(ArchiveError) -> ArchivedFile? {
        var found: OpaquePointer?
        switch archive_read_next_header(archive, &found) {
        case ARCHIVE_EOF: return nil
        case ARCHIVE_OK, ARCHIVE_WARN: break
        default: throw failure("it cannot be read")
        }
        guard let entry = found else { return nil }
        guard let name = archive_entry_pathname(entry) ?? archive_entry_pathname_utf8(entry) else {
            throw ArchiveError("an entry has no name")
        }
        var file = ArchivedFile(name: bytes(name), mode: UInt32(archive_entry_mode(entry)))
        guard let owner = UInt32(exactly: archive_entry_uid(entry)),
            let group = UInt32(exactly: archive_entry_gid(entry))
        else { throw ArchiveError("\(shown(file.name)) belongs to nobody that can be") }
        (file.owner, file.group) = (owner, group)
        file.size = archive_entry_size_is_set(entry) != 0 ? archive_entry_size(entry) : 0
        file.device = UInt64(archive_entry_rdev(entry))
        file.modified.seconds = archive_entry_mtime(entry)
        file.modified.nanoseconds = archive_entry_mtime_nsec(entry)
        if archive_entry_atime_is_set(entry) != 0 {
            file.accessed = ArchivedFile.Time(
                seconds: archive_entry_atime(entry), nanoseconds: archive_entry_atime_nsec(entry))
        }
        file.hardLink = (archive_entry_hardlink(entry) ?? archive_entry_hardlink_utf8(entry)).map(bytes)
        file.target = (archive_entry_symlink(entry) ?? archive_entry_symlink_utf8(entry)).map(bytes)
        file.attributes = attributes(of: entry)
        return file
    }

    /// Hands the data of the entry over, piece by piece with the offset of each; holes are left out.
    public func readData<Failure: Error>(
        _ body: (Int64, UnsafeRawBufferPointer) throws(Failure) -> Void,
        failing: (ArchiveError) -> Failure
    ) throws(Failure) {
        while true {
            var block: UnsafeRawPointer?
            var size = 0
            var offset: Int64 = 0
            let status = archive_read_data_block(archive, &block, &size, &offset)
            if status == ARCHIVE_EOF { return }
            guard status >= ARCHIVE_WARN else { throw failing(failure("it cannot be read")) }
            if size > 0 { try body(offset, UnsafeRawBufferPointer(start: block, count: size)) }
        }
    }

    private func bytes(_ text: UnsafePointer<CChar>) -> [UInt8] {
        Array(UnsafeRawBufferPointer(start: text, count: strlen(text)))
    }

    private func attributes(of entry: OpaquePointer) -> [ArchivedFile.Attribute] {
        var attributes: [ArchivedFile.Attribute] = []
        archive_entry_xattr_reset(entry)
        while true {
            var name: UnsafePointer<CChar>?
            var value: UnsafeRawPointer?
            var size = 0
            guard archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK, let name else {
                return attributes
            }
            attributes.append(
                ArchivedFile.Attribute(
                    name: bytes(name), value: Array(UnsafeRawBufferPointer(start: value, count: size))))
        }
    }

    private func failure(_ doing: String) -> ArchiveError {
        if let error = source.failure { return ArchiveError("\(doing): \(error)") }
        return ArchiveError(doing, archive)
    }

    /// libarchive's archive_read_callback.
    private static let fetch:
        @convention(c) (
            OpaquePointer?, UnsafeMutableRawPointer?, UnsafeMutablePointer<UnsafeRawPointer?>?
        ) -> Int = { _, context, result in
            let source = Unmanaged<Source>.fromOpaque(context!).takeUnretainedValue()
            do {
                let bytes = try source.read()
                source.piece.deallocate()
                source.piece = .allocate(byteCount: bytes.count, alignment: 1)
                source.piece.copyBytes(from: bytes)
                result?.pointee = UnsafeRawPointer(source.piece.baseAddress)
                return bytes.count
            } catch {
                source.failure = error
                return -1
            }
        }
}
