import CLinux
import Glibc
import LinuxSystem

/// The pages of a fresh dump: in its pages file, and those that the dump left where they are in the process itself.
///
/// They are numbered from 0 in the order of the pagemap.
struct DumpedPages: @unchecked Sendable {
    // Sendable because nobody writes to the file or the copy, which last as long as this.
    let map: PageMap
    /// For each run of the pagemap, the number of its first page.
    let firsts: [Int]
    /// The pages file, or a copy of all pages; what keeps it there.
    private let stored: UnsafeRawPointer
    private let owner: AnyObject
    /// Who has what the pagemap calls inherited: the host's pid of a process that stands still.
    private let process: Int32?
    var areInFile: Bool { process == nil }
    /// Whether all of them are in the pages file that the pagemap names.
    let areStored: Bool

    /// Of a pagemap of which all pages are in `file`, but for those that are said to be inherited, where `process` has
    /// them.
    init(_ map: PageMap, _ file: MappedPages, process: Int32? = nil) {
        (self.map, stored, owner, self.process) = (map, file.start, file, process)
        areStored = process == nil
        firsts = PageComparison.firsts(map)
    }

    /// Of a copy.
    init(_ held: HeldPages) {
        (map, stored, owner, process) = (held.map, UnsafeRawPointer(held.start), held, nil)
        areStored = false
        firsts = PageComparison.firsts(map)
    }

    /// Pages that follow one another in memory.
    struct Part {
        /// The address of the first page, and the first one after the last.
        let start: UInt64
        let end: UInt64
        /// The number of the first page.
        let first: Int
        /// Where the bytes of the first page are, for as long as the part is looked at.
        let bytes: UnsafeRawPointer

        /// The bytes of the page with a number.
        func page(_ number: Int) -> UnsafeRawPointer { bytes + (number - first) * pageSize }
        var size: Int { Int(end - start) }
    }

    /// So many pages are read from a process at a time: they stay in a processor's cache until they are compared.
    private static let chunk = 64

    /// Calls `body` with the pages of these numbers, in order. Throws what `body` throws, and where the process cannot be
    /// read.
    func forEachPart(
        of numbers: Range<Int>, _ body: (Part) throws(SystemError) -> Void
    ) throws(SystemError) {
        var buffer: UnsafeMutableRawPointer?
        defer { buffer?.deallocate() }
        var index = firsts.partitioningIndex { $0 > numbers.lowerBound } - 1
        while index >= 0, index < map.runs.count, firsts[index] < numbers.upperBound {
            let (run, first) = (map.runs[index], firsts[index])
            let last = min(first + run.count, numbers.upperBound)
            var from = max(first, numbers.lowerBound)
            while from < last {
                let to = run.isStored ? last : min(last, from + Self.chunk)
                let start = run.start + UInt64(from - first) * Page.size
                let bytes: UnsafeRawPointer
                if run.isStored {
                    bytes = stored + Int(map.offsets[index]) + (from - first) * pageSize
                } else {
                    let room =
                        buffer ?? .allocate(byteCount: Self.chunk * pageSize, alignment: pageSize)
                    buffer = room
                    try read(start, (to - from) * pageSize, into: room)
                    bytes = UnsafeRawPointer(room)
                }
                try body(
                    Part(
                        start: start, end: run.start + UInt64(to - first) * Page.size, first: from,
                        bytes: bytes))
                from = to
            }
            index += 1
        }
    }

    /// Calls `body` with the bytes of these pages, in order and in as few pieces as may be.
    func forEachPiece(
        of numbers: Range<Int>, _ body: (UnsafeRawBufferPointer) throws(SystemError) -> Void
    ) throws(SystemError) {
        if process == nil {
            return try body(
                UnsafeRawBufferPointer(
                    start: stored + numbers.lowerBound * pageSize, count: numbers.count * pageSize))
        }
        try forEachPart(of: numbers) { (part) throws(SystemError) in
            try body(UnsafeRawBufferPointer(start: part.bytes, count: part.size))
        }
    }

    /// Copies all pages, one after the other.
    fileprivate func copy(to room: UnsafeMutableRawPointer) throws(SystemError) {
        var to = room
        for (run, offset) in zip(map.runs, map.offsets) {
            let size = run.count * pageSize
            if run.isStored {
                to.copyMemory(from: stored + Int(offset), byteCount: size)
            } else {
                try read(run.start, size, into: to)
            }
            to += size
        }
    }

    private func read(_ address: UInt64, _ size: Int, into room: UnsafeMutableRawPointer) throws(SystemError)
    {
        guard let process else {
            throw SystemError(call: "process_vm_readv", code: ENODATA, subject: map.name)
        }
        var code = clinux_read_memory(process, UInt(address), room, UInt(size))
        // What the process itself may not read (PROT_NONE) a tracer may.
        if code == EFAULT, let memory = try? Descriptor.open("/proc/\(process)/mem", O_RDONLY),
            pread(memory.raw, room, size, off_t(truncatingIfNeeded: address)) == size
        {
            code = 0
        }
        guard code == 0 else {
            throw SystemError(
                call: "process_vm_readv", code: code, subject: "\(map.name), \(hexadecimal(address))")
        }
    }
}

/// A copy of the pages of a fresh dump, from when everything stood still.
final class HeldPages {
    /// The dump's pagemap as if it had written all of them.
    let map: PageMap
    let start: UnsafeMutableRawPointer
    private let room: PageRoom

    /// Copies pages; each process that still has some of them must stand still.
    init(_ pages: DumpedPages) throws(SystemError) {
        var whole = PageMap(pages.map.name, pagesID: pages.map.pagesID)
        for run in pages.map.runs {
            let flags = run.isStored ? run.flags : PageMap.Run.present
            whole.append(PageMap.Run(start: run.start, count: run.count, flags: flags))
        }
        map = whole
        room = PageRoom.take(Int(whole.storedBytes))
        start = room.start
        try pages.copy(to: start)
    }

    deinit { PageRoom.keep(room) }
}

/// Memory for pages. Some is kept for the next who needs it: the kernel clears fresh memory page by page, which takes longer
/// than to copy into it.
private struct PageRoom: @unchecked Sendable {
    // Sendable because it has one owner at a time.
    let start: UnsafeMutableRawPointer
    let size: Int

    /// So many are kept, of so many bytes at most: a copy of a process has no more (TakenMemory.Bounds.usual).
    private static let most = 4
    private static let largest = 4 << 20
    private static let kept = Monitor<[PageRoom]>([])

    static func take(_ size: Int) -> PageRoom {
        let known = kept.with { kept in
            kept.firstIndex { $0.size >= size }.map { kept.remove(at: $0) }
        }
        if let known { return known }
        // Room for what the next one has more.
        let rounded = max((size + size / 4 + 0xffff) & ~0xffff, 1 << 20)
        return PageRoom(start: .allocate(byteCount: rounded, alignment: pageSize), size: rounded)
    }

    static func keep(_ room: PageRoom) {
        let isKept = kept.with { kept in
            guard kept.count < most, room.size <= largest else { return false }
            kept.append(room)
            return true
        }
        if !isKept { room.start.deallocate() }
    }
}
