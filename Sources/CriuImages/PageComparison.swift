import Digests
import Glibc
import LinuxSystem

/// What is to become of each page of a fresh dump.
///
/// The comparison reads both images with pread(2), not through mappings: a disk that fails is an error then, and no
/// SIGBUS.
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
    /// Pages read at once: two such buffers stay in a core's cache.
    static let block = 32

    /// How many pages have to be stored.
    var keptCount: Int { fates.count - zeros - shared.reduce(0, +) }

    /// Compares `map`, whose pages lie in `file`, with the parent's chain.
    ///
    /// `zeroFilled` are the areas in which a page of zeros need not be kept, by address.
    init(
        _ map: PageMap, _ file: Int32, zeroFilled: [Range<UInt64>], parent: PageChain?
    ) throws(CriuImageError) {
        fates = [UInt16](repeating: Self.kept, count: map.pageCount)
        shared = [Int](repeating: 0, count: parent?.levels.count ?? 0)
        let size = Self.block * pageSize
        let own = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: pageSize)
        let other = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: pageSize)
        defer {
            own.deallocate()
            other.deallocate()
        }
        let hash = DigestStream()
        var inherited = parent.map { Inherited($0) }
        var areas = zeroFilled[...]
        var page = 0
        for run in map.runs {
            for first in stride(from: 0, to: run.count, by: Self.block) {
                let count = min(Self.block, run.count - first)
                let address = run.start + UInt64(first * pageSize)
                try readPages(file, map.pagesName, page, count, into: own)
                if parent == nil {
                    hash.update(UnsafeRawBufferPointer(start: own, count: count * pageSize))
                }
                markZeros(own, count, address: address, page: page, in: &areas)
                try inherited?.forEachSlot(from: address, count: count) {
                    (offset, slot, length) throws(CriuImageError) in
                    guard !isAllZero(page + offset, length) else { return }
                    try parent!.read(slot, count: length, into: other)
                    mark(own + offset * pageSize, other, length, page: page + offset, level: slot.level)
                }
                page += count
            }
        }
        if parent == nil { digest = hash.digest }
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

    private func isAllZero(_ first: Int, _ count: Int) -> Bool {
        fates[first..<first + count].allSatisfy { $0 == Self.zero }
    }

    private mutating func markZeros(
        _ bytes: UnsafeRawPointer, _ count: Int, address: UInt64, page: Int,
        in areas: inout ArraySlice<Range<UInt64>>
    ) {
        for offset in 0..<count {
            let at = address + UInt64(offset * pageSize)
            while let area = areas.first, area.upperBound <= at { areas.removeFirst() }
            guard let area = areas.first else { return }
            guard area.contains(at), isZeroPage(bytes + offset * pageSize) else { continue }
            fates[page + offset] = Self.zero
            zeros += 1
        }
    }

    private mutating func mark(
        _ own: UnsafeRawPointer, _ other: UnsafeRawPointer, _ count: Int, page: Int, level: UInt16
    ) {
        let areAllEqual = memcmp(own, other, count * pageSize) == 0
        for offset in 0..<count where fates[page + offset] == Self.kept {
            let at = offset * pageSize
            guard areAllEqual || memcmp(own + at, other + at, pageSize) == 0 else { continue }
            fates[page + offset] = level
            shared[Int(level)] += 1
        }
    }
}

/// Whether a page holds nothing but zeros: its first word does, and each byte equals the one eight before it.
private func isZeroPage(_ page: UnsafeRawPointer) -> Bool {
    page.load(as: UInt64.self) == 0 && memcmp(page, page + 8, pageSize - 8) == 0
}

/// The parent's pages by address, asked for in ascending order.
private struct Inherited {
    private let runs: [PageMap.Run]
    private let slots: [PageChain.Slot?]
    private var run = 0
    private var firstOfRun = 0

    init(_ chain: PageChain) {
        runs = chain.levels[0].map.runs
        slots = chain.slots()
    }

    /// Calls `body` for each stretch of pages that lie together in one level: the first one's offset from
    /// `address` in pages, where it lies, and how many there are.
    mutating func forEachSlot(
        from address: UInt64, count: Int,
        _ body: (Int, PageChain.Slot, Int) throws(CriuImageError) -> Void
    ) throws(CriuImageError) {
        var offset = 0
        while offset < count {
            let at = address + UInt64(offset * pageSize)
            while run < runs.count, runs[run].end <= at {
                firstOfRun += runs[run].count
                run += 1
            }
            guard run < runs.count else { return }
            guard runs[run].start <= at else {
                let gap = (runs[run].start - at) / UInt64(pageSize)
                guard gap < UInt64(count - offset) else { return }
                offset += Int(gap)
                continue
            }
            let index = firstOfRun + Int(at - runs[run].start) / pageSize
            guard let slot = slots[index] else {
                offset += 1
                continue
            }
            let limit = min(count - offset, firstOfRun + runs[run].count - index)
            var length = 1
            while length < limit,
                slots[index + length] == PageChain.Slot(level: slot.level, page: slot.page + length)
            {
                length += 1
            }
            try body(offset, slot, length)
            offset += length
        }
    }
}
