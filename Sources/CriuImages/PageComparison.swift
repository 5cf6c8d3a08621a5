import Digests
import Glibc
import LinuxSystem

/// What is to become of each page of a fresh dump.
struct PageComparison {
    /// For each page of the dump: `kept`, `zero`, or the level of the parent's chain that has the same bytes.
    private(set) var fates: [UInt16]
    /// How many pages each level of the parent's chain has to give.
    private(set) var shared: [Int]
    private(set) var zeros = 0
    /// Of all pages as they were dumped; nil where there was a parent to compare with, or where no file has them.
    private(set) var digest: Digest?

    static let kept = UInt16.max
    static let zero = UInt16.max - 1

    /// How many pages have to be stored.
    var keptCount: Int { fates.count - zeros - shared.reduce(0, +) }

    /// Compares pages with those of the parent.
    ///
    /// `zeroFilled` are the areas in which a page of zeros need not be kept, by address.
    /// Each thread that takes part gets `least` pages or more. Throws where the process that has pages cannot be read.
    init(
        _ pages: DumpedPages, zeroFilled: [Range<UInt64>], parent: InheritedPages?, least: Int? = nil
    ) throws(SystemError) {
        let count = pages.map.pageCount
        let least = least ?? (pages.areInFile ? Self.leastPiece : Self.leastPieceOfProcess)
        fates = [UInt16](repeating: Self.kept, count: count)
        shared = [Int](repeating: 0, count: parent?.pages.count ?? 0)
        let tallies = fates.withUnsafeMutableBufferPointer { fates in
            let marking = PageMarking(
                pages: pages, zeroFilled: zeroFilled, inherited: parent, fates: fates.baseAddress)
            return Pieces.map(count, least: least) { marking.mark($0) }
        }
        for tally in tallies {
            if let failure = tally.failure { throw failure }
            zeros += tally.zeros
            for (level, count) in tally.shared.enumerated() { shared[level] += count }
        }
        if parent != nil || count == 0 || !pages.areStored { return }
        let hash = DigestStream()
        try pages.forEachPiece(of: 0..<count) { hash.update($0) }
        digest = hash.digest
    }

    /// So many pages keep a thread busy for longer than it takes to start: 32 MiB.
    private static let leastPiece = 8192
    /// The same for pages of a process, while which is read it stands still: 4 MiB.
    private static let leastPieceOfProcess = 1024

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
}

/// Finds out what is to become of pages; several threads do, each of pages of its own.
private struct PageMarking: @unchecked Sendable {
    // Sendable because all is read only but the fates, of which no two threads have the same.
    let pages: DumpedPages
    let zeroFilled: [Range<UInt64>]
    let inherited: InheritedPages?
    let fates: UnsafeMutablePointer<UInt16>?

    /// How many pages are which.
    struct Tally: Sendable {
        var zeros = 0
        var shared: [Int]
        /// Why a part was not looked at.
        var failure: SystemError?
    }

    /// Marks the pages with these numbers.
    func mark(_ numbers: Range<Int>) -> Tally {
        var tally = Tally(shared: [Int](repeating: 0, count: inherited?.pages.count ?? 0))
        guard let fates else { return tally }
        do throws(SystemError) {
            try pages.forEachPart(of: numbers) { (part) throws(SystemError) in
                markZeros(part, fates, &tally)
                if let inherited { markEqual(part, inherited, fates, &tally) }
            }
        } catch { tally.failure = error }
        return tally
    }

    private func markZeros(
        _ part: DumpedPages.Part, _ fates: UnsafeMutablePointer<UInt16>, _ tally: inout Tally
    ) {
        var area = zeroFilled.partitioningIndex { $0.upperBound > part.start }
        while area < zeroFilled.count, zeroFilled[area].lowerBound < part.end {
            let from = Int(max(zeroFilled[area].lowerBound, part.start) - part.start) / pageSize
            let to = Int(min(zeroFilled[area].upperBound, part.end) - part.start) / pageSize
            for page in part.first + from..<part.first + to where isZeroPage(part.page(page)) {
                fates[page] = PageComparison.zero
                tally.zeros += 1
            }
            area += 1
        }
    }

    private func markEqual(
        _ part: DumpedPages.Part, _ inherited: InheritedPages, _ fates: UnsafeMutablePointer<UInt16>,
        _ tally: inout Tally
    ) {
        var other = inherited.runs.partitioningIndex { $0.end > part.start }
        while other < inherited.runs.count, inherited.runs[other].start < part.end {
            let theirs = inherited.runs[other]
            let from = max(theirs.start, part.start)
            let count = Int(min(theirs.end, part.end) - from) / pageSize
            let page = part.first + Int(from - part.start) / pageSize
            let slot = inherited.firsts[other] + Int(from - theirs.start) / pageSize
            for offset in 0..<count where fates[page + offset] == PageComparison.kept {
                let place = inherited.slots[slot + offset]
                if place.isNone { continue }
                let twin = inherited.pages[place.level].page(place.page)
                guard memcmp(part.page(page + offset), twin, pageSize) == 0 else { continue }
                fates[page + offset] = UInt16(place.level)
                tally.shared[place.level] += 1
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
struct InheritedPages {
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
