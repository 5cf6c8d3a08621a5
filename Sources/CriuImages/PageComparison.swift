import Digests
import Glibc

/// What is to become of each page of a fresh dump.
struct PageComparison {
    /// For each page of the dump: `kept`, `zero`, or the level of the parent's chain that has the same bytes.
    private(set) var fates: [UInt16]
    /// How many pages each level of the parent's chain has to give.
    private(set) var shared: [Int]
    private(set) var zeros = 0
    /// Of all pages as they were dumped; nil where there was a parent to compare with.
    private(set) var digest: Digest?

    static let kept = UInt16.max
    static let zero = UInt16.max - 1

    /// How many pages have to be stored.
    var keptCount: Int { fates.count - zeros - shared.reduce(0, +) }

    /// Compares the pages of `map` with those of the parent's chain.
    ///
    /// `zeroFilled` are the areas in which a page of zeros need not be kept, by address.
    init(_ map: PageMap, _ pages: MappedPages, zeroFilled: [Range<UInt64>], parent: PageChain?) {
        fates = [UInt16](repeating: Self.kept, count: map.pageCount)
        shared = [Int](repeating: 0, count: parent?.levels.count ?? 0)
        guard let parent else {
            let hash = DigestStream()
            for (run, first) in zip(map.runs, Self.firsts(map)) {
                markZeros(run, first, pages, zeroFilled)
                hash.update(UnsafeRawBufferPointer(start: pages.page(first), count: run.count * pageSize))
            }
            digest = hash.digest
            return
        }
        let inherited = Inherited(parent)
        for (run, first) in zip(map.runs, Self.firsts(map)) {
            markZeros(run, first, pages, zeroFilled)
            markEqual(run, first, pages, inherited)
        }
    }

    /// For each run, the number of its first page.
    static func firsts(_ map: PageMap) -> [Int] {
        var next = 0
        return map.runs.map { run in
            defer { next += run.count }
            return next
        }
    }

    /// Has the pages of these levels stored again: nothing is inherited from them any more.
    mutating func absorb(_ levels: Set<UInt16>) {
        if levels.isEmpty { return }
        for index in fates.indices where levels.contains(fates[index]) { fates[index] = Self.kept }
        for level in levels { shared[Int(level)] = 0 }
    }

    /// Keeps the pages of zeros like all others.
    mutating func keepZeros() {
        for index in fates.indices where fates[index] == Self.zero { fates[index] = Self.kept }
        zeros = 0
    }

    private mutating func markZeros(
        _ run: PageMap.Run, _ first: Int, _ pages: MappedPages, _ areas: [Range<UInt64>]
    ) {
        var area = areas.partitioningIndex { $0.upperBound > run.start }
        while area < areas.count, areas[area].lowerBound < run.end {
            let from = Int(max(areas[area].lowerBound, run.start) - run.start) / pageSize
            let to = Int(min(areas[area].upperBound, run.end) - run.start) / pageSize
            for page in first + from..<first + to where isZeroPage(pages.page(page)) {
                fates[page] = Self.zero
                zeros += 1
            }
            area += 1
        }
    }

    private mutating func markEqual(
        _ run: PageMap.Run, _ first: Int, _ pages: MappedPages, _ inherited: Inherited
    ) {
        var other = inherited.runs.partitioningIndex { $0.end > run.start }
        while other < inherited.runs.count, inherited.runs[other].start < run.end {
            let theirs = inherited.runs[other]
            let from = max(theirs.start, run.start)
            let count = Int(min(theirs.end, run.end) - from) / pageSize
            let page = first + Int(from - run.start) / pageSize
            let slot = inherited.firsts[other] + Int(from - theirs.start) / pageSize
            for offset in 0..<count where fates[page + offset] == Self.kept {
                let place = inherited.slots[slot + offset]
                if place.isNone { continue }
                let twin = inherited.pages[place.level].page(place.page)
                guard memcmp(pages.page(page + offset), twin, pageSize) == 0 else { continue }
                fates[page + offset] = UInt16(place.level)
                shared[place.level] += 1
            }
            other += 1
        }
    }
}

/// Whether a page holds nothing but zeros: its first word does, and each byte equals the one eight before it.
private func isZeroPage(_ page: UnsafeRawPointer) -> Bool {
    page.load(as: UInt64.self) == 0 && memcmp(page, page + 8, pageSize - 8) == 0
}

/// The parent's pages by address.
private struct Inherited {
    let runs: [PageMap.Run]
    let firsts: [Int]
    let slots: [PageChain.Slot]
    let pages: [MappedPages]

    init(_ chain: PageChain) {
        let top = chain.levels[0].map
        (runs, firsts) = (top.runs, PageComparison.firsts(top))
        slots = chain.slots()
        pages = chain.levels.map(\.pages)
    }
}
