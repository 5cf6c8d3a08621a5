import Glibc
import LinuxSystem

/// One address space, or one piece of shared memory, as an image directory holds it: its own pagemap, and below
/// `parent/`, `parent/parent/` … those from which it inherits pages.
///
/// CRIU looks for a page in the first pagemap, and where that says `in_parent` in the next one. Each level's pages
/// lie in a file of its own; every file of a chain may be a hard link to that of another snapshot.
final class PageChain {
    /// One pagemap and its pages.
    struct Level: Sendable {
        /// Below the image directory: empty, or `parent/`, `parent/parent/` …
        let place: String
        let map: PageMap
    }

    /// More levels than any chain that is made; one that goes on is damaged or forged.
    static let mostLevels = 1000

    let levels: [Level]
    private let files: [Int32]

    deinit { for file in files { close(file) } }

    /// Opens the chain of `name`, a `pagemap-*.img`; nil where the directory has none.
    ///
    /// Every pages file is as long as its pagemap says.
    init?(_ name: String, in images: borrowing ImageDirectory) throws(CriuImageError) {
        var levels: [Level] = []
        var files: [Int32] = []
        do throws(CriuImageError) {
            var place = ""
            while let bytes = try images.readIfPresent(place + name) {
                guard levels.count < Self.mostLevels else {
                    throw CriuImageError(name, "has more than \(Self.mostLevels) parents")
                }
                let level = Level(place: place, map: try PageMap(place + name, parsing: bytes))
                files.append(try images.openPages(of: level.map, at: place))
                levels.append(level)
                place += ImageDirectory.parentName + "/"
            }
        } catch {
            for file in files { close(file) }
            throw error
        }
        (self.levels, self.files) = (levels, files)
        if levels.isEmpty { return nil }
    }

    /// Where a page lies: which level's file, and how many pages from its start.
    struct Slot: Equatable, Sendable {
        let level: UInt16
        let page: Int
    }

    /// Reads pages that lie one after another in a level's file.
    func read(_ slot: Slot, count: Int, into buffer: UnsafeMutableRawPointer) throws(CriuImageError) {
        let level = levels[Int(slot.level)]
        try readPages(
            files[Int(slot.level)], level.place + level.map.pagesName, slot.page, count, into: buffer)
    }

    /// For each page of the first pagemap, in order, where it lies; nil for one that no level has.
    ///
    /// The first level that has a page is the right one: were it stale, a level above would have it too.
    func slots() -> [Slot?] {
        let top = levels[0].map
        var slots = [Slot?](repeating: nil, count: top.pageCount)
        for (number, level) in levels.enumerated() {
            var (run, firstOfRun) = (0, 0)
            for (held, place) in zip(level.map.runs, level.map.offsets) where held.isStored {
                let stored = Int(place / Page.size)
                while run < top.runs.count, top.runs[run].end <= held.start {
                    firstOfRun += top.runs[run].count
                    run += 1
                }
                // One run of this level may span several of the top's; the position is kept for the next.
                var (other, first) = (run, firstOfRun)
                while other < top.runs.count, top.runs[other].start < held.end {
                    let from = max(held.start, top.runs[other].start)
                    let to = min(held.end, top.runs[other].end)
                    let index = first + Int(from - top.runs[other].start) / pageSize
                    let page = stored + Int(from - held.start) / pageSize
                    for offset in 0..<Int(to - from) / pageSize where slots[index + offset] == nil {
                        slots[index + offset] = Slot(level: UInt16(number), page: page + offset)
                    }
                    first += top.runs[other].count
                    other += 1
                }
            }
        }
        return slots
    }
}

/// Bytes of a page.
let pageSize = Int(Page.size)

/// Reads whole pages of a pages file.
func readPages(
    _ file: Int32, _ name: String, _ page: Int, _ count: Int, into buffer: UnsafeMutableRawPointer
) throws(CriuImageError) {
    let bytes = UnsafeMutableRawBufferPointer(start: buffer, count: count * pageSize)
    try readFully(file, name, offset: UInt64(page * pageSize), into: bytes)
}

extension ImageDirectory {
    /// Opens the pages file of a pagemap at `place`, which must be long enough; the caller closes it.
    func openPages(of map: PageMap, at place: String) throws(CriuImageError) -> Int32 {
        let file = try open(place + map.pagesName)
        var status = stat()
        guard fstat(file.raw, &status) == 0, UInt64(status.st_size) >= map.storedBytes else {
            throw CriuImageError(
                place + map.pagesName,
                "has \(status.st_size) bytes where \(map.name) counts \(map.storedBytes)")
        }
        return file.release()
    }
}
