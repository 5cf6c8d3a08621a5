import CArchive
import Glibc

/// Makes a tar stream (pax) of a local file or directory and hands it to `write` piece by piece.
///
/// Symbolic links are kept as links, hard links and holes are kept, sockets are left out because tar has
/// none. Everything belongs to root in the stream: local users do not exist in a sandbox.
///
/// - Parameters:
///   - path: the file or directory.
///   - name: what it is called in the stream; empty for a directory's contents alone.
///   - write: takes the next bytes; what it throws ends the packing and is thrown on.
public func packArchive(
    of path: String, named name: String, write: @escaping (UnsafeRawBufferPointer) throws -> Void
) throws {
    try Packer(root: path, name: name, sink: Sink(write)).run()
}

/// Where the stream goes; libarchive's callback reaches it through a pointer.
private final class Sink {
    let write: (UnsafeRawBufferPointer) throws -> Void
    var failure: (any Error)?
    init(_ write: @escaping (UnsafeRawBufferPointer) throws -> Void) { self.write = write }
}

private struct Packer {
    let root: String
    let name: String
    let sink: Sink

    func run() throws {
        guard let disk = archive_read_disk_new(), let out = archive_write_new(),
            let entry = archive_entry_new()
        else { throw ArchiveError("out of memory") }
        defer {
            archive_entry_free(entry)
            archive_write_free(out)
            archive_read_free(disk)
        }
        archive_read_disk_set_symlink_physical(disk)
        archive_write_set_format_pax_restricted(out)
        archive_write_set_bytes_in_last_block(out, 1)
        let opened = withExtendedLifetime(sink) {
            archive_write_open(out, Unmanaged.passUnretained(sink).toOpaque(), nil, sendPiece, nil)
        }
        guard opened == ARCHIVE_OK else { throw ArchiveError("cannot begin the archive", out) }
        do {
            try addAll(of: disk, to: out, entry)
        } catch {
            // Freeing an archive ends it properly; one that is incomplete has to break off instead.
            archive_write_fail(out)
            throw error
        }
        guard archive_write_close(out) == ARCHIVE_OK else { throw failure("cannot end the archive", out) }
    }

    private func addAll(of disk: OpaquePointer, to out: OpaquePointer, _ entry: OpaquePointer) throws {
        guard archive_read_disk_open(disk, root) == ARCHIVE_OK else {
            throw ArchiveError("cannot read \(root)", disk)
        }
        var links = HardLinks()
        while try next(disk, entry) {
            archive_read_disk_descend(disk)
            try add(entry, from: disk, to: out, &links)
        }
    }

    private func next(_ disk: OpaquePointer, _ entry: OpaquePointer) throws -> Bool {
        archive_entry_clear(entry)
        switch archive_read_next_header2(disk, entry) {
        case ARCHIVE_EOF: return false
        case ARCHIVE_OK, ARCHIVE_WARN: return true
        default: throw ArchiveError("cannot read \(root)", disk)
        }
    }

    private func add(
        _ entry: OpaquePointer, from disk: OpaquePointer, to out: OpaquePointer, _ links: inout HardLinks
    ) throws {
        let path = String(cString: archive_entry_pathname(entry))
        guard let inside = nameInside(path), archive_entry_filetype(entry) != S_IFSOCK else { return }
        archive_entry_set_pathname(entry, inside)
        archive_entry_set_uid(entry, 0)
        archive_entry_set_gid(entry, 0)
        archive_entry_set_uname(entry, nil)
        archive_entry_set_gname(entry, nil)
        if let first = links.first(of: entry, named: inside) {
            archive_entry_set_hardlink(entry, first)
            archive_entry_unset_size(entry)
        }
        guard archive_write_header(out, entry) >= ARCHIVE_WARN else {
            throw failure("cannot archive \(path)", out)
        }
        if archive_entry_size(entry) > 0 { try copyData(from: disk, to: out, path) }
    }

    /// The entry's name in the stream; nil for the directory itself when only its contents are wanted.
    private func nameInside(_ path: String) -> String? {
        var below = path.dropFirst(root.count)
        while below.first == "/" { below.removeFirst() }
        let parts = [name, String(below)].filter { !$0.isEmpty }
        return parts.isEmpty ? nil : parts.joined(separator: "/")
    }

    /// Copies a file's data; libarchive hands it over in blocks with holes between them.
    private func copyData(from disk: OpaquePointer, to out: OpaquePointer, _ path: String) throws {
        var written: Int64 = 0
        while true {
            var block: UnsafeRawPointer?
            var size = 0
            var offset: Int64 = 0
            let status = archive_read_data_block(disk, &block, &size, &offset)
            if status == ARCHIVE_EOF { return }
            guard status >= ARCHIVE_WARN else { throw ArchiveError("cannot read \(path)", disk) }
            while written < offset {
                let hole = Int(min(offset - written, Int64(zeros.count)))
                written += try send(zeros, hole, to: out, path)
            }
            if let block { written += try send(block, size, to: out, path) }
        }
    }

    private func send(
        _ bytes: UnsafeRawPointer, _ count: Int, to out: OpaquePointer, _ path: String
    ) throws -> Int64 {
        guard archive_write_data(out, bytes, count) == count else {
            throw failure("cannot archive \(path)", out)
        }
        return Int64(count)
    }

    /// What the receiver threw, or what libarchive says.
    private func failure(_ doing: String, _ out: OpaquePointer) -> any Error {
        sink.failure ?? ArchiveError(doing, out)
    }
}

private let zeros = [UInt8](repeating: 0, count: 65536)

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
        let inode: Int64
    }
    private var names: [File: String] = [:]

    mutating func first(of entry: OpaquePointer, named name: String) -> String? {
        let isDirectory = archive_entry_filetype(entry) == S_IFDIR
        guard !isDirectory, archive_entry_nlink(entry) > 1 else { return nil }
        let file = File(device: UInt64(archive_entry_dev(entry)), inode: archive_entry_ino64(entry))
        if let first = names[file] { return first }
        names[file] = name
        return nil
    }
}
