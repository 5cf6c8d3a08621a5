import CCriuImages
import Glibc
import LinuxSystem

/// The contents of a file that was deleted while it was open or mapped: `ghost-file-ID.img`.
final class GhostFile: Sendable {
    private struct Chunk: Sendable {
        let offset: UInt64
        let count: UInt64
        /// Where in the image it begins.
        let place: UInt64
    }

    private let name: String
    private let image: Descriptor
    private let chunks: [Chunk]
    let size: UInt64

    init(id: UInt32, in images: borrowing ImageDirectory) throws(CriuImageError) {
        // CRIU's name has the id in hexadecimal (criu/image-desc.c).
        name = "ghost-file-\(String(id, radix: 16)).img"
        image = try images.open(name)
        var status = stat()
        guard fstat(image.raw, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw CriuImageError(name, "is not a regular file")
        }
        let total = UInt64(status.st_size)
        let start = try Self.bytes(image, name, offset: 0, count: min(total, 65536))
        let (file, payload) = try ImageFile.head(name, .deletedFile, parsing: start)
        let entry = try file.decodeOnly(ghost_file_entry__unpack, ghost_file_entry__free_unpacked) {
            $0.pointee
        }
        let place = UInt64(payload)
        if entry.has_chunks != 0, entry.chunks != 0 {
            chunks = try Self.chunks(of: image, name, from: place, total: total)
            size = entry.size
        } else {
            chunks = [Chunk(offset: 0, count: total - place, place: place)]
            size = total - place
        }
    }

    private static func bytes(
        _ image: borrowing Descriptor, _ name: String, offset: UInt64, count: UInt64
    ) throws(CriuImageError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Int(count))
        var failure: CriuImageError?
        bytes.withUnsafeMutableBytes { buffer in
            do throws(CriuImageError) {
                try readFully(image.raw, name, offset: offset, into: buffer)
            } catch { failure = error }
        }
        if let failure { throw failure }
        return bytes
    }

    private static func chunks(
        of image: borrowing Descriptor, _ name: String, from: UInt64, total: UInt64
    ) throws(CriuImageError) -> [Chunk] {
        var (chunks, place) = ([Chunk](), from)
        while place < total {
            guard total - place >= 4 else {
                throw CriuImageError(name, entry: chunks.count + 1, "ends inside a length")
            }
            let word = try bytes(image, name, offset: place, count: 4)
            let length = word.reversed().reduce(0) { $0 << 8 | UInt64($1) }
            guard length <= min(total - place - 4, 4096) else {
                throw CriuImageError(name, entry: chunks.count + 1, "ends inside an entry of \(length) bytes")
            }
            var packed = ImageFile(name, .deletedFile)
            packed.entries = [try bytes(image, name, offset: place + 4, count: length)]
            let entry = try packed.decodeOnly(ghost_chunk_entry__unpack, ghost_chunk_entry__free_unpacked) {
                $0.pointee
            }
            place += 4 + length
            guard entry.len <= total - place, entry.off <= UInt64(Int64.max) - entry.len else {
                throw CriuImageError(
                    name, entry: chunks.count + 1, "ends inside a chunk of \(entry.len) bytes")
            }
            chunks.append(Chunk(offset: entry.off, count: entry.len, place: place))
            place += entry.len
        }
        return chunks
    }

    /// At most `count` bytes from `offset` on, fewer where the file ends; holes are zeros.
    func read(offset: UInt64, count: Int) throws(CriuImageError) -> [UInt8] {
        guard offset < size else { return [] }
        let end = min(size, offset + UInt64(count))
        var result = [UInt8](repeating: 0, count: Int(end - offset))
        for chunk in chunks {
            let from = max(chunk.offset, offset)
            let to = min(chunk.offset + chunk.count, end)
            guard from < to else { continue }
            let part = try Self.bytes(
                image, name, offset: chunk.place + (from - chunk.offset), count: to - from)
            let first = Int(from - offset)
            result.replaceSubrange(first..<first + part.count, with: part)
        }
        return result
    }
}
