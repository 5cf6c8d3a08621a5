import CCriuImages
import CProtobufC

/// Which pages of one address space or shared segment an image directory has: one `pagemap-N.img`.
///
/// It begins with the number of its `pages-N.img`; each entry is a run of pages, and the pages of those that are
/// present follow one another there.
struct PageMap: Equatable, Sendable {
    enum Place: Equatable, Sendable {
        /// In this directory's pages file, the first one at `offset` bytes.
        case stored(offset: UInt64)
        /// In the parent's image directory.
        case parent
        /// Nowhere: never sent (a lazy page of a dump for another machine).
        case missing
    }

    struct Run: Equatable, Sendable {
        /// In bytes: of the address space, or from the segment's start.
        let start: UInt64
        /// How many pages.
        let count: Int
        /// PE_* of CRIU's criu/include/pagemap.h.
        let flags: UInt32

        static let inParent: UInt32 = 1 << 0
        static let present: UInt32 = 1 << 2

        /// The first address after it.
        var end: UInt64 { start + UInt64(count) * Page.size }
        var isStored: Bool { flags & Self.present != 0 }
    }

    let name: String
    /// The N of `pages-N.img`.
    var pagesID: UInt32
    /// Sorted by address, without overlaps.
    private(set) var runs: [Run] = []
    /// For each run, where its pages begin in the pages file, in bytes; of use only where it is stored.
    private(set) var offsets: [UInt64] = []
    /// The bytes of the pages that are present.
    private(set) var storedBytes: UInt64 = 0

    /// The image directory's pages file.
    var pagesName: String { "pages-\(pagesID).img" }

    /// Whether pages of it are in the parent's image directory.
    var inherits: Bool { runs.contains { $0.flags & Run.inParent != 0 && !$0.isStored } }

    /// How many pages it tells of.
    var pageCount: Int { runs.reduce(0) { $0 + $1.count } }

    /// A pagemap without runs yet.
    init(_ name: String, pagesID: UInt32) {
        (self.name, self.pagesID) = (name, pagesID)
    }

    /// Takes a file apart, without a copy of each entry: there may be hundreds of thousands.
    init(_ name: String, parsing bytes: [UInt8]) throws(CriuImageError) {
        self.init(name, pagesID: 0)
        try bytes.withUnsafeBufferPointer { (buffer) throws(CriuImageError) in
            let all = UnsafeRawBufferPointer(buffer)
            var position = 0
            func word() -> UInt32? {
                guard all.count - position >= 4 else { return nil }
                defer { position += 4 }
                return UInt32(littleEndian: all.loadUnaligned(fromByteOffset: position, as: UInt32.self))
            }
            for magic in ImageKind.pageMap.magic where word() != magic {
                throw CriuImageError(name, "does not begin as a pagemap does")
            }
            var entry = 0
            while position < all.count {
                guard let length = word() else {
                    throw CriuImageError(name, entry: entry, "ends inside a length")
                }
                guard length <= all.count - position else {
                    throw CriuImageError(name, entry: entry, "ends inside an entry of \(length) bytes")
                }
                // Never the end of the file, where the address of nothing may be nil: a length came before.
                let start = buffer.baseAddress! + position
                if entry == 0 {
                    pagesID = try head(start, Int(length))
                } else {
                    let plain = Fields(plain: start, Int(length))
                    let fields = if let plain { plain } else { try unpacked(start, Int(length), entry) }
                    try append(try run(fields, entry), entry: entry)
                }
                position += Int(length)
                entry += 1
            }
            guard entry > 0 else { throw CriuImageError(name, "does not name its pages") }
        }
    }

    private func head(_ bytes: UnsafePointer<UInt8>, _ length: Int) throws(CriuImageError) -> UInt32 {
        guard let head = pagemap_head__unpack(nil, length, bytes) else { throw damaged(0) }
        defer { pagemap_head__free_unpacked(head, nil) }
        return head.pointee.pages_id
    }

    /// An entry's fields, before they are understood.
    private struct Fields {
        var address: UInt64 = 0
        var compatibleCount: UInt64 = 0
        var inParent: UInt64 = 0
        var flags: UInt32?
        var count: UInt64?

        init() {}

        /// Reads an entry of the plain form that CRIU and ckpt write: each field once at most, in the order of
        /// their numbers, the first two always. Nil leaves any other form to protobuf-c, which takes ten times
        /// as long.
        init?(plain bytes: UnsafePointer<UInt8>, _ length: Int) {
            var (position, seen) = (0, 0)
            var last: UInt8 = 0
            while position < length {
                let tag = bytes[position]
                guard tag > last, tag & 7 == 0, seen > 1 || tag >> 3 == seen + 1 else { return nil }
                (position, last, seen) = (position + 1, tag, seen + 1)
                var (value, shift) = (UInt64(0), UInt64(0))
                while true {
                    guard position < length, shift < 63 else { return nil }
                    let byte = bytes[position]
                    position += 1
                    value |= UInt64(byte & 0x7f) << shift
                    if byte & 0x80 == 0 { break }
                    shift += 7
                }
                switch tag >> 3 {
                case 1: address = value
                case 2 where value <= UInt32.max: compatibleCount = value
                case 3 where value <= 1: inParent = value
                case 4 where value <= UInt32.max: flags = UInt32(value)
                case 5: count = value
                default: return nil
                }
            }
            if seen < 2 { return nil }
        }
    }

    private func unpacked(
        _ bytes: UnsafePointer<UInt8>, _ length: Int, _ index: Int
    ) throws(CriuImageError) -> Fields {
        guard let message = pagemap_entry__unpack(nil, length, bytes) else { throw damaged(index) }
        defer { pagemap_entry__free_unpacked(message, nil) }
        let entry = message.pointee
        var fields = Fields()
        fields.address = entry.vaddr
        fields.compatibleCount = UInt64(entry.compat_nr_pages)
        fields.inParent = entry.has_in_parent != 0 && entry.in_parent != 0 ? 1 : 0
        if entry.has_flags != 0 { fields.flags = entry.flags }
        if entry.has_nr_pages != 0 { fields.count = entry.nr_pages }
        return fields
    }

    /// An entry as CRIU understands it: older ones have no flags (criu/pagemap.c, `init_compat_pagemap_entry`).
    private func run(_ fields: Fields, _ index: Int) throws(CriuImageError) -> Run {
        let count = fields.count ?? fields.compatibleCount
        let (bytes, tooMany) = count.multipliedReportingOverflow(by: Page.size)
        let (_, tooFar) = fields.address.addingReportingOverflow(bytes)
        guard !tooMany, !tooFar, fields.address % Page.size == 0, count > 0,
            !storedBytes.addingReportingOverflow(bytes).overflow
        else {
            let place = hexadecimal(fields.address)
            throw CriuImageError(
                name, entry: index, "has the impossible run of \(count) pages at \(place)")
        }
        let flags = fields.flags ?? (fields.inParent != 0 ? Run.inParent : Run.present)
        return Run(start: fields.address, count: Int(count), flags: flags)
    }

    private func damaged(_ entry: Int) -> CriuImageError {
        CriuImageError(name, entry: entry, "is damaged, or of a format this ckpt does not know")
    }

    private mutating func append(_ run: Run, entry: Int) throws(CriuImageError) {
        guard run.start >= runs.last?.end ?? 0 else {
            throw CriuImageError(name, entry: entry, "lies over the one before it")
        }
        append(run)
    }

    /// Adds a run, which lies behind all others.
    mutating func append(_ run: Run) {
        runs.append(run)
        offsets.append(storedBytes)
        if run.isStored { storedBytes += UInt64(run.count) * Page.size }
    }

    /// Where the pages of a run are.
    func place(of index: Int) -> Place {
        if runs[index].isStored { return .stored(offset: offsets[index]) }
        return runs[index].flags & Run.inParent != 0 ? .parent : .missing
    }

    /// The run that has this address, or where the next one starts (nil when there is none).
    func find(_ address: UInt64) -> (run: Int?, next: UInt64?) {
        let index = runs.partitioningIndex { $0.end > address }
        guard index < runs.count else { return (nil, nil) }
        return runs[index].start <= address ? (index, nil) : (nil, runs[index].start)
    }

    /// The file's bytes as CRIU 4.2 writes them.
    var bytes: [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(16 + runs.count * 24)
        func append(_ word: UInt32) {
            withUnsafeBytes(of: word.littleEndian) { out += $0 }
        }
        func append(entry: [UInt8]) {
            append(UInt32(entry.count))
            out += entry
        }
        ImageKind.pageMap.magic.forEach(append)
        var head = PagemapHead()
        pagemap_head__init(&head)
        head.pages_id = pagesID
        append(entry: packed(&head))
        var entry = PagemapEntry()
        pagemap_entry__init(&entry)
        (entry.has_flags, entry.has_nr_pages) = (1, 1)
        for run in runs {
            entry.vaddr = run.start
            entry.compat_nr_pages = UInt32(truncatingIfNeeded: run.count)
            entry.nr_pages = UInt64(run.count)
            entry.flags = run.flags
            append(entry: packed(&entry))
        }
        return out
    }
}
