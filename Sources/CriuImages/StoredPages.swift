import Glibc
import LinuxSystem

/// The pages of one address space or shared segment that an image directory and its parents hold.
///
/// A parent is read only where a run says that its pages are there. The files stay open while this value lives.
final class StoredPages: Sendable {
    private struct Level: Sendable {
        let map: PageMap
        let pages: PagesFile
        var inherits: Bool { map.inherits }
    }

    /// Owns a descriptor, which an array cannot.
    private final class PagesFile: Sendable {
        let descriptor: Descriptor
        let identity: FileIdentity
        init(_ descriptor: consuming Descriptor, _ identity: FileIdentity) {
            self.descriptor = descriptor
            self.identity = identity
        }
    }

    /// Which file it is: snapshots link to one another's.
    struct FileIdentity: Equatable, Sendable {
        let device: dev_t
        let inode: ino_t
    }

    /// The name of a level's pages file, in that level's directory.
    func name(level: Int) -> String { levels[level].map.pagesName }

    /// The pages file of a level.
    func file(level: Int) -> FileIdentity { levels[level].pages.identity }

    /// More parents than this are a circle of links.
    private static let mostLevels = 512

    /// The image directory's own first, then its parent's.
    private let levels: [Level]

    /// Opens `pagemap-NAME.img` and what it refers to; nil when there is none.
    convenience init?(_ name: String, in images: borrowing ImageDirectory) throws(CriuImageError) {
        guard let first = try Self.level(name, images) else { return nil }
        var levels = [first]
        var directory: ImageDirectory?
        if first.inherits { directory = try images.parentDirectory() }
        while levels[levels.count - 1].inherits {
            guard let parent = directory.take(), let level = try Self.level(name, parent) else {
                throw CriuImageError(
                    "pagemap-\(name).img", "inherits pages, and \(levels.count) parents up nobody has them")
            }
            levels.append(level)
            guard levels.count < Self.mostLevels else {
                throw CriuImageError("parent", "goes on for more than \(Self.mostLevels) image directories")
            }
            if level.inherits { directory = try parent.parentDirectory() }
        }
        self.init(levels)
    }

    private init(_ levels: [Level]) { self.levels = levels }

    private static func level(
        _ name: String, _ images: borrowing ImageDirectory
    ) throws(CriuImageError) -> Level? {
        guard let bytes = try images.readIfPresent("pagemap-\(name).img") else { return nil }
        let map = try PageMap("pagemap-\(name).img", parsing: bytes)
        let pages = try images.open(map.pagesName)
        var status = stat()
        guard fstat(pages.raw, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw CriuImageError(map.pagesName, "is not a regular file")
        }
        guard UInt64(status.st_size) >= map.storedBytes else {
            throw CriuImageError(
                map.pagesName,
                "has \(status.st_size) bytes where \(map.name) counts \(map.storedBytes)")
        }
        return Level(
            map: map, pages: PagesFile(pages, FileIdentity(device: status.st_dev, inode: status.st_ino)))
    }

    /// Where the page of an address is.
    enum Place: Equatable {
        /// In the pages file of a level, 0 for the image directory's own.
        case stored(level: Int, offset: UInt64)
        /// Not in the images.
        case absent
    }

    /// Where the page of `address` is, and up to which address, at most `end`, the next ones follow it there.
    func find(_ address: UInt64, upTo end: UInt64) throws(CriuImageError) -> (place: Place, end: UInt64) {
        var end = end
        for (number, level) in levels.enumerated() {
            let (run, next) = level.map.find(address)
            guard let run else {
                guard number == 0 else { throw missing(address, level: number) }
                return (.absent, min(end, next ?? end))
            }
            end = min(end, level.map.runs[run].end)
            switch level.map.place(of: run) {
            case .stored(let offset):
                let inside = address - level.map.runs[run].start
                return (.stored(level: number, offset: offset + inside), end)
            case .missing: throw missing(address, level: number)
            case .parent: continue
            }
        }
        throw missing(address, level: levels.count)
    }

    private func missing(_ address: UInt64, level: Int) -> CriuImageError {
        CriuImageError(
            levels[0].map.name,
            "inherits the page at \(hexadecimal(address)), which is missing \(level) parents up")
    }

    /// Reads pages that `find` found.
    func read(
        level: Int, offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(CriuImageError) {
        let level = levels[level]
        try readFully(level.pages.descriptor.raw, level.map.pagesName, offset: offset, into: buffer)
    }
}

/// Fills the buffer from the file's place `offset` on (pread(2)); a file that ends before is an error.
func readFully(
    _ file: Int32, _ name: String, offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
) throws(CriuImageError) {
    var done = 0
    while done < buffer.count {
        let got: Int
        let from = done
        do throws(SystemError) {
            got = try retrying("pread", name) {
                pread(file, buffer.baseAddress! + from, buffer.count - from, off_t(offset) + off_t(from))
            }
        } catch {
            throw CriuImageError(name, "cannot be read", cause: error)
        }
        guard got > 0 else { throw CriuImageError(name, "ends before byte \(offset + UInt64(buffer.count))") }
        done += got
    }
}
