import CCriuImages

/// Which pages of one address space or shared segment an image directory has: one `pagemap-N.img`.
///
/// It begins with the number of its `pages-N.img`; each entry is a run of pages, and the pages of those that are
/// present follow one another there.
struct PageMap: Sendable {
    enum Place: Equatable, Sendable {
        /// In this directory's pages file, the first one at `offset` bytes.
        case stored(offset: UInt64)
        /// In the parent's image directory.
        case parent
        /// Nowhere: never sent (a lazy page of a dump for another machine).
        case missing
    }

    struct Run: Sendable {
        let start: UInt64
        /// The first address after it.
        let end: UInt64
        let place: Place
    }

    /// PE_* of CRIU's criu/include/pagemap.h.
    private enum Flag {
        static let parent: UInt32 = 1 << 0
        static let present: UInt32 = 1 << 2
    }

    let name: String
    let pagesID: UInt32
    /// Sorted by address, without overlaps.
    let runs: [Run]

    /// The image directory's pages file.
    var pagesName: String { "pages-\(pagesID).img" }

    /// Whether pages of it are in the parent's image directory.
    var inherits: Bool { runs.contains { $0.place == .parent } }

    /// The bytes of the pages that are present.
    let storedBytes: UInt64

    init(_ file: ImageFile) throws(CriuImageError) {
        name = file.name
        guard !file.entries.isEmpty else { throw CriuImageError(file.name, "does not name its pages") }
        pagesID = try file.decode(0, pagemap_head__unpack, pagemap_head__free_unpacked) {
            $0.pointee.pages_id
        }
        var (runs, offset) = ([Run](), UInt64(0))
        runs.reserveCapacity(file.entries.count - 1)
        for index in file.entries.indices.dropFirst() {
            let entry = try file.decode(index, pagemap_entry__unpack, pagemap_entry__free_unpacked) {
                $0.pointee
            }
            let run = try Self.run(entry, at: index, in: file.name, offset: offset)
            guard run.start >= runs.last?.end ?? 0 else {
                throw CriuImageError(file.name, entry: index, "lies over the one before it")
            }
            if case .stored = run.place { offset += run.end - run.start }
            runs.append(run)
        }
        (self.runs, storedBytes) = (runs, offset)
    }

    private static func run(
        _ entry: PagemapEntry, at index: Int, in file: String, offset: UInt64
    ) throws(CriuImageError) -> Run {
        let count = entry.has_nr_pages != 0 ? entry.nr_pages : UInt64(entry.compat_nr_pages)
        let (bytes, tooMany) = count.multipliedReportingOverflow(by: Page.size)
        let (end, tooFar) = entry.vaddr.addingReportingOverflow(bytes)
        guard !tooMany, !tooFar, entry.vaddr % Page.size == 0,
            offset.addingReportingOverflow(bytes).overflow == false
        else {
            throw CriuImageError(
                file, entry: index, "has the impossible run of \(count) pages at \(hexadecimal(entry.vaddr))")
        }
        let place: Place
        if entry.has_flags == 0 {
            // As CRIU wrote it before the flags came (criu/pagemap.c, `init_compat_pagemap_entry`).
            place = entry.in_parent != 0 ? .parent : .stored(offset: offset)
        } else if entry.flags & Flag.present != 0 {
            place = .stored(offset: offset)
        } else {
            place = entry.flags & Flag.parent != 0 ? .parent : .missing
        }
        return Run(start: entry.vaddr, end: end, place: place)
    }

    /// The run that has this address, or where the next one starts (nil when there is none).
    func find(_ address: UInt64) -> (run: Run?, next: UInt64?) {
        let index = runs.partitioningIndex { $0.end > address }
        guard index < runs.count else { return (nil, nil) }
        return runs[index].start <= address ? (runs[index], nil) : (nil, runs[index].start)
    }
}
