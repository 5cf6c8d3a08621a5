import Glibc
import LinuxSystem
import Testing

@testable import CriuImages

private let page: UInt64 = 4096

private func extent(_ start: UInt64, _ pages: UInt64) -> LazyProcess.Extent {
    LazyProcess.Extent(start: start * page, pages: pages, file: 0, offset: 0)
}

private func map(_ runs: [(start: UInt64, count: Int, flags: UInt32)]) -> PageMap {
    var map = PageMap("pagemap-7.img", pagesID: 3)
    for run in runs { map.append(PageMap.Run(start: run.start * page, count: run.count, flags: run.flags)) }
    return map
}

/// What CRIU is shown of memory that comes in behind.
@Suite struct LazyMemoryTests {
    /// Every set of lazy pages among twelve, against a plain look at each page.
    @Test func whatIsLeftIsTheParentsPageByPage() {
        let whole = map([(1, 3, 4), (4, 2, 1), (7, 4, 4), (11, 1, 1)])
        let all = whole.runs.flatMap { run in (0..<run.count).map { run.start / page + UInt64($0) } }
        for choice in 0..<UInt32(1 << 12) {
            var extents: [LazyProcess.Extent] = []
            for number in UInt64(0)..<12 where choice & 1 << number != 0 {
                if let last = extents.last, last.end == number * page {
                    extents[extents.count - 1] = extent(last.start / page, last.pages + 1)
                } else {
                    extents.append(extent(number, 1))
                }
            }
            let left = whole.inherited(without: extents)
            let pages = left.runs.flatMap { run in (0..<run.count).map { run.start / page + UInt64($0) } }
            #expect(pages == all.filter { $0 >= 12 || choice & 1 << $0 == 0 }, "\(choice)")
            #expect(left.runs.allSatisfy { $0.flags == PageMap.Run.inParent })
            #expect(left.pagesID == 3 && left.storedBytes == 0)
        }
    }
}
