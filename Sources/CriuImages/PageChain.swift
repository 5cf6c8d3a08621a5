/// One address space, or one piece of shared memory, as an image directory holds it: its own pagemap, and below
/// `parent/`, `parent/parent/` … those from which it inherits pages.
///
/// CRIU looks for a page in the first pagemap, and where that says `in_parent` in the next one. Each level's pages
/// lie in a file of its own; every file of a chain may be a hard link to that of another snapshot.
final class PageChain {
    /// One pagemap and its pages.
    struct Level {
        /// Below the image directory: empty, or `parent/`, `parent/parent/` …
        let place: String
        let map: PageMap
        let pages: MappedPages
    }

    /// More levels than any chain that is made; one that goes on is damaged or forged.
    static let mostLevels = 512

    let levels: [Level]

    /// Opens the chain of `name`, a `pagemap-*.img`; nil where the directory has none.
    init?(_ name: String, in images: borrowing ImageDirectory) throws(CriuImageError) {
        var levels: [Level] = []
        var place = ""
        while let bytes = try images.readIfPresent(place + name) {
            guard levels.count < Self.mostLevels else {
                throw CriuImageError(name, "has more than \(Self.mostLevels) parents")
            }
            let map = try PageMap(place + name, parsing: bytes)
            levels.append(Level(place: place, map: map, pages: try images.mapPages(of: map, at: place)))
            place += ImageDirectory.parentName + "/"
        }
        if levels.isEmpty { return nil }
        self.levels = levels
    }

    /// Where a page lies: which level's file has it, at which page of the file.
    struct Slot {
        private let packed: UInt64
        static let none = Slot(packed: .max)

        private init(packed: UInt64) { self.packed = packed }
        init(level: Int, page: Int) { packed = UInt64(level) << 48 | UInt64(page) }

        var isNone: Bool { packed == .max }
        var level: Int { Int(packed >> 48) }
        var page: Int { Int(packed & (1 << 48 - 1)) }
    }

    /// For each page of the first pagemap, in order, where it lies; none for one that no level has.
    ///
    /// The first level that has a page is the right one: were it stale, a level above would have it too.
    func slots() -> [Slot] {
        let top = levels[0].map
        var slots = [Slot](repeating: .none, count: top.pageCount)
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
                    for offset in 0..<Int(to - from) / pageSize where slots[index + offset].isNone {
                        slots[index + offset] = Slot(level: number, page: page + offset)
                    }
                    first += top.runs[other].count
                    other += 1
                }
            }
        }
        return slots
    }
}
