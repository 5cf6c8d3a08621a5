import Digests
import Glibc
import LinuxSystem

/// Writes the pages and the pagemap that are left of a dump once the parent's pages are known.
struct PageRewrite {
    let map: PageMap
    let comparison: PageComparison
    /// What the pagemap becomes.
    private(set) var result: PageMap

    /// Of `map` into files of the number `id`.
    init(_ map: PageMap, _ comparison: PageComparison, to id: UInt32) {
        self.map = map
        self.comparison = comparison
        result = PageMap(map.name, pagesID: id)
        let fates = comparison.fates
        for (run, first) in zip(map.runs, PageComparison.firsts(map)) {
            var offset = 0
            while offset < run.count {
                let kind = Kind(fates[first + offset])
                var length = 1
                while offset + length < run.count, Kind(fates[first + offset + length]) == kind {
                    length += 1
                }
                if kind != .zero {
                    result.append(
                        PageMap.Run(
                            start: run.start + UInt64(offset * pageSize), count: length,
                            flags: kind == .inherited
                                ? PageMap.Run.inParent : run.isStored ? run.flags : PageMap.Run.present))
                }
                offset += length
            }
        }
    }

    private enum Kind {
        case kept, zero, inherited

        init(_ fate: UInt16) {
            self =
                switch fate {
                case PageComparison.kept: .kept
                case PageComparison.zero: .zero
                default: .inherited
                }
        }
    }

    /// Copies the kept pages into the new pages file, which must not exist; the digest of all it wrote.
    func copyKept(_ pages: DumpedPages, in images: borrowing ImageDirectory) throws(CriuImageError) -> Digest
    {
        let hash = DigestStream()
        do throws(SystemError) {
            let output = try Descriptor.open(
                result.pagesName, below: images.directory, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW)
            let fates = comparison.fates
            var page = 0
            while page < fates.count {
                guard fates[page] == PageComparison.kept else {
                    page += 1
                    continue
                }
                var end = page + 1
                while end < fates.count, fates[end] == PageComparison.kept { end += 1 }
                try pages.forEachPiece(of: page..<end) { (bytes) throws(SystemError) in
                    hash.update(bytes)
                    try output.writeAll(bytes)
                }
                page = end
            }
        } catch {
            throw CriuImageError(result.pagesName, "cannot be written", cause: error)
        }
        return hash.digest
    }
}
