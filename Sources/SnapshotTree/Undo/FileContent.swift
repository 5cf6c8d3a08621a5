import Glibc
import LinuxSystem

/// The bytes of a regular file, or where a symbolic link leads; holes stay holes.
struct FileContent: Sendable, Equatable {
    /// Bytes that lie in one piece.
    struct Extent: Sendable, Equatable {
        let offset: Int
        let bytes: [UInt8]
    }
    let size: Int
    let extents: [Extent]

    static let empty = FileContent(size: 0, extents: [])

    init(size: Int, extents: [Extent]) { (self.size, self.extents) = (size, extents) }

    /// Where a symbolic link leads.
    init(target: [UInt8]) {
        self.init(size: target.count, extents: [Extent(offset: 0, bytes: target)])
    }

    /// Whether it has no holes.
    var isDense: Bool { extents.reduce(0) { $0 + $1.bytes.count } == size }

    /// Where the link leads that this is.
    var target: [UInt8] { extents.first?.bytes ?? [] }

    /// Reads a file of which the size is known (lseek(2), SEEK_DATA).
    init(of file: borrowing Descriptor, size: Int, blocks: Int) throws(SystemError) {
        let number = file.raw
        // What takes as many blocks as it has bytes has no holes.
        if blocks * 512 >= size {
            let whole = size == 0 ? [] : [Extent(offset: 0, bytes: try Self.read(number, 0, size))]
            self.init(size: size, extents: whole)
            return
        }
        var extents: [Extent] = []
        var at = 0
        while at < size {
            let start = Int(lseek(number, off_t(at), SEEK_DATA))
            if start < 0, errno == ENXIO { break }
            let end = start < 0 ? start : Int(lseek(number, off_t(start), SEEK_HOLE))
            guard start >= 0, end > start else { throw .last("lseek") }
            extents.append(
                Extent(offset: start, bytes: try Self.read(number, start, min(end, size) - start)))
            at = end
        }
        self.init(size: size, extents: extents)
    }

    private static func read(_ file: Int32, _ offset: Int, _ count: Int) throws(SystemError) -> [UInt8] {
        var failure: SystemError?
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            while filled < count {
                let got = pread(file, buffer.baseAddress! + filled, count - filled, off_t(offset + filled))
                if got < 0, errno == EINTR { continue }
                if got <= 0 {
                    failure = got < 0 ? .last("pread") : SystemError(call: "pread", code: EIO)
                    return
                }
                filled += got
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Writes it to a file that is empty, or over another's content where it has no holes.
    func write(to file: borrowing Descriptor) throws(SystemError) {
        let number = file.raw
        for extent in extents {
            var done = 0
            while done < extent.bytes.count {
                done += try retrying("pwrite") {
                    extent.bytes.withUnsafeBytes {
                        pwrite(number, $0.baseAddress! + done, $0.count - done, off_t(extent.offset + done))
                    }
                }
            }
        }
        try retrying("ftruncate") { ftruncate(number, off_t(size)) }
    }
}
