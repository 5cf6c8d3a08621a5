import CArchive
import Glibc

/// Makes a tar stream (pax), compressed with zstd, of files that its caller describes one by one.
///
/// Used by one thread. Memory is bounded whatever the files' sizes. A writer that is dropped before `finish` leaves a
/// stream without its end.
public final class ArchiveWriter {
    /// Takes the next bytes of the stream; what it throws ends the archive.
    public typealias Output = (UnsafeRawBufferPointer) throws -> Void

    private static let blockSize: Int32 = 128 << 10
    private static let zeroCount = 1 << 20

    private final class Sink {
        let write: Output
        var failure: (any Error)?
        init(_ write: @escaping Output) { self.write = write }
    }

    private let sink: Sink
    private let out: OpaquePointer
    private let entry: OpaquePointer
    /// Never written to, so it takes no memory.
    private let zeros: UnsafeMutableRawPointer
    private var isFinished = false

    /// Begins a stream; `level` is zstd's, 1 to 19, or 0 for a plain tar.
    public init(level: Int, write: @escaping Output) throws(ArchiveError) {
        guard let out = archive_write_new(), let entry = archive_entry_new(),
            let zeros = calloc(1, Self.zeroCount)
        else { throw ArchiveError("out of memory") }
        sink = Sink(write)
        (self.out, self.entry, self.zeros) = (out, entry, zeros)
        if level > 0 {
            guard archive_write_add_filter_zstd(out) == ARCHIVE_OK,
                archive_write_set_filter_option(out, "zstd", "compression-level", "\(level)") == ARCHIVE_OK
            else { throw ArchiveError("cannot compress with zstd", out) }
        }
        // The other header for extended attributes cannot tell a `=` in a name from its end.
        guard archive_write_set_format_pax(out) == ARCHIVE_OK,
            archive_write_set_format_option(out, "pax", "xattrheader", "LIBARCHIVE") == ARCHIVE_OK
        else { throw ArchiveError("cannot begin the archive", out) }
        archive_write_set_bytes_per_block(out, Self.blockSize)
        archive_write_set_bytes_in_last_block(out, 1)
        let context = Unmanaged.passUnretained(sink).toOpaque()
        guard archive_write_open(out, context, nil, Self.send, nil) == ARCHIVE_OK else {
            throw failure("cannot begin the archive")
        }
    }

    deinit {
        // Freeing an archive ends it properly; one that is incomplete has to break off instead.
        if !isFinished { archive_write_fail(out) }
        archive_entry_free(entry)
        archive_write_free(out)
        free(zeros)
    }

    /// Adds a file; `size` bytes of data have to follow for a regular one without `hardLink`.
    ///
    /// `holes` are the ranges of a sparse file that hold nothing, in order.
    public func add(_ file: ArchivedFile, holes: [Range<Int64>] = []) throws(ArchiveError) {
        archive_entry_clear(entry)
        withName(file.name) { archive_entry_copy_pathname(entry, $0) }
        archive_entry_set_mode(entry, mode_t(file.mode))
        archive_entry_set_uid(entry, Int64(file.owner))
        archive_entry_set_gid(entry, Int64(file.group))
        archive_entry_set_mtime(entry, file.modified.seconds, file.modified.nanoseconds)
        if let time = file.accessed { archive_entry_set_atime(entry, time.seconds, time.nanoseconds) }
        archive_entry_set_size(entry, file.size)
        if file.device != 0 { archive_entry_set_rdev(entry, dev_t(file.device)) }
        if let target = file.target { withName(target) { archive_entry_copy_symlink(entry, $0) } }
        if let first = file.hardLink {
            withName(first) { archive_entry_copy_hardlink(entry, $0) }
            archive_entry_unset_size(entry)
        }
        for attribute in file.attributes {
            withName(attribute.name) { name in
                archive_entry_xattr_add_entry(entry, name, attribute.value, attribute.value.count)
            }
        }
        addData(of: file, between: holes)
        guard archive_write_header(out, entry) >= ARCHIVE_WARN else {
            throw failure("cannot archive \(shown(file.name))")
        }
    }

    /// libarchive wants to know where the data lie, and takes the holes for what is between.
    private func addData(of file: ArchivedFile, between holes: [Range<Int64>]) {
        if holes.isEmpty { return }
        var at: Int64 = 0
        for hole in holes {
            if hole.lowerBound > at { archive_entry_sparse_add_entry(entry, at, hole.lowerBound - at) }
            at = hole.upperBound
        }
        // The last one says where the file ends, where that is a hole.
        archive_entry_sparse_add_entry(entry, at, file.size - at)
    }

    /// Gives the next bytes of the file's data, those of its holes included, which are not stored.
    public func write(_ bytes: UnsafeRawBufferPointer) throws(ArchiveError) {
        guard archive_write_data(out, bytes.baseAddress, bytes.count) == bytes.count else {
            throw failure("cannot write the archive")
        }
    }

    /// Goes over a hole of the file.
    public func skip(_ count: Int64) throws(ArchiveError) {
        var left = count
        while left > 0 {
            let part = Int(min(left, Int64(Self.zeroCount)))
            try write(UnsafeRawBufferPointer(start: zeros, count: part))
            left -= Int64(part)
        }
    }

    /// Adds a regular file of ours with these bytes.
    public func add(_ name: String, _ bytes: [UInt8]) throws(ArchiveError) {
        var file = ArchivedFile(name: Array(name.utf8), mode: UInt32(S_IFREG as mode_t) | 0o600)
        file.size = Int64(bytes.count)
        try add(file)
        var failure: ArchiveError?
        bytes.withUnsafeBytes { buffer in
            do throws(ArchiveError) { if !buffer.isEmpty { try write(buffer) } } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Ends the stream.
    public func finish() throws(ArchiveError) {
        guard archive_write_close(out) == ARCHIVE_OK else { throw failure("cannot end the archive") }
        isFinished = true
    }

    private func failure(_ doing: String) -> ArchiveError {
        if let error = sink.failure { return ArchiveError("\(doing): \(error)") }
        return ArchiveError(doing, out)
    }

    /// libarchive's archive_write_callback.
    private static let send:
        @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?, UnsafeRawPointer?, Int) -> Int = {
            _, context, bytes, count in
            let sink = Unmanaged<Sink>.fromOpaque(context!).takeUnretainedValue()
            do {
                try sink.write(UnsafeRawBufferPointer(start: bytes, count: count))
                return count
            } catch {
                sink.failure = error
                return -1
            }
        }
}
