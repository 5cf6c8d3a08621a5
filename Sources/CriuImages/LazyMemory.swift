import CCriuImages
import Glibc
import LinuxSystem

/// Private memory of one process that may come in after it runs.
public struct LazyProcess: Sendable {
    /// Pages that follow one another in memory and in a file.
    public struct Extent: Equatable, Sendable {
        public let start: UInt64
        /// How many pages.
        public let pages: UInt64
        /// The file, by its place in `LazyMemory.files`, and the place in that, in bytes.
        public let file: Int
        public let offset: UInt64

        /// The first address after it.
        public var end: UInt64 { start + pages * Page.size }
    }

    /// In the sandbox.
    public let pid: Int32
    /// Sorted by address, without overlaps.
    public let extents: [Extent]
    /// Each lies in one mapping and begins and ends with an extent; what is between them is zero.
    public let ranges: [Range<UInt64>]

    public var bytes: UInt64 { extents.reduce(0) { $0 + $1.pages * Page.size } }
}

/// What of a snapshot's memory may come in after its processes run.
public struct LazyMemory: Sendable {
    /// From how much on that is worth it, in bytes.
    public struct Bounds: Sendable {
        /// Of one mapping.
        public var mapping: UInt64
        /// Of all processes.
        public var total: UInt64
        public init(mapping: UInt64, total: UInt64) { (self.mapping, self.total) = (mapping, total) }

        /// A restore with less of it takes no longer than 20 ms (measured).
        public static let usual = Bounds(mapping: 256 << 10, total: 32 << 20)
        /// Where it is asked for.
        public static let least = Bounds(mapping: 64 << 10, total: 64 << 10)
    }

    public let processes: [LazyProcess]
    /// The paths of the files with the pages.
    public let files: [String]

    public var bytes: UInt64 { processes.reduce(0) { $0 + $1.bytes } }

    /// Looks through the image directory at `path`; nil where there is too little.
    ///
    /// Only anonymous private memory is taken that no parent or child may share: CRIU restores what two processes have in
    /// common once. What the kernel touches by itself before a process runs is left out.
    public init?(in path: String, _ bounds: Bounds) throws(CriuImageError) {
        let images = try ImageDirectory(path)
        let tree = try images.processes().filter { $0.state == .alive || $0.state == .stopped }
        var maps: [Int32: MemoryMap] = [:]
        for process in tree { maps[process.pid] = try images.memoryMap(of: process.pid) }
        var files = FileTable(path)
        var found: [LazyProcess] = []
        for process in tree {
            let relatives = tree.filter { $0.parent == process.pid || process.parent == $0.pid }
            let others = relatives.flatMap { maps[$0.pid]!.regions.filter(\.mayBeLazy).map(\.range) }
            let regions = maps[process.pid]!.regions.filter { region in
                region.mayBeLazy && region.size >= bounds.mapping
                    && !others.contains { $0.overlaps(region.range) }
            }
            guard !regions.isEmpty else { continue }
            var kept: Set<UInt64> = []
            for thread in process.threads { kept.formUnion(try images.pagesTheKernelTouches(of: thread)) }
            if let lazy = try Self.process(
                process.pid, regions, keeping: kept.sorted(), bounds, in: images, &files)
            {
                found.append(lazy)
            }
        }
        (processes, self.files) = (found, files.paths)
        if found.isEmpty || bytes < bounds.total { return nil }
    }

    private static func process(
        _ pid: Int32, _ regions: [MemoryRegion], keeping kept: [UInt64], _ bounds: Bounds,
        in images: borrowing ImageDirectory, _ files: inout FileTable
    ) throws(CriuImageError) -> LazyProcess? {
        guard let pages = try StoredPages("\(pid)", in: images) else { return nil }
        var (extents, ranges) = ([LazyProcess.Extent](), [Range<UInt64>]())
        for region in regions {
            var own: [LazyProcess.Extent] = []
            var position = region.start
            for page in kept.filter({ region.range.contains($0) }) + [region.end] {
                while position < page {
                    let piece = try pages.find(position, upTo: page)
                    if case .stored(let level, let offset) = piece.place {
                        let file = files.number(of: pages.name(level: level), level: level)
                        own.append(
                            LazyProcess.Extent(
                                start: position, pages: (piece.end - position) / Page.size, file: file,
                                offset: offset))
                    }
                    position = piece.end
                }
                position = page + Page.size
            }
            guard let first = own.first, let last = own.last,
                own.reduce(0, { $0 + $1.pages * Page.size }) >= bounds.mapping
            else { continue }
            ranges.append(first.start..<last.end)
            extents += own
        }
        return extents.isEmpty ? nil : LazyProcess(pid: pid, extents: extents, ranges: ranges)
    }

    private struct FileTable {
        private(set) var paths: [String] = []
        private var numbers: [String: Int] = [:]
        private let directory: String

        init(_ directory: String) { self.directory = directory }

        mutating func number(of name: String, level: Int) -> Int {
            let key = "\(level) \(name)"
            if let number = numbers[key] { return number }
            let parents = String(repeating: ImageDirectory.parentName + "/", count: level)
            paths.append("\(directory)/\(parents)\(name)")
            numbers[key] = paths.count - 1
            return paths.count - 1
        }
    }
}

extension MemoryRegion {
    /// MAP_GROWSDOWN, MAP_LOCKED and MAP_HUGETLB of <linux/mman.h>: stacks grow into pages nobody asked for, and locked
    /// memory must be there.
    private static var unfit: UInt32 { 0x100 | 0x2000 | 0x40000 }

    fileprivate var mayBeLazy: Bool { kind == .anonymous && !isStack && flags & Self.unfit == 0 }
}

extension ImageDirectory {
    /// The pages of a thread's memory that the kernel reads or writes without its doing, from the moment that CRIU names
    /// them on: its thread area with the one for restartable sequences (rseq(2)), the list of its robust futexes, the
    /// place that is cleared at its end (set_tid_address(2)); and where its stack ends, which signals are put on.
    fileprivate func pagesTheKernelTouches(of thread: Int32) throws(CriuImageError) -> Set<UInt64> {
        let file = try file("core-\(thread).img", .core)
        return try file.decodeOnly(core_entry__unpack, core_entry__free_unpacked) {
            message throws(CriuImageError) in
            var ranges: [(UInt64, UInt64)] = []
            if let information = message.pointee.thread_info?.pointee {
                ranges.append((information.clear_tid_addr, 8))
                if let registers = information.gpregs?.pointee {
                    ranges.append((registers.fs_base &- 2 * Page.size, 4 * Page.size))
                    ranges.append((registers.sp &- 4 * Page.size, 6 * Page.size))
                }
            }
            if let thread = message.pointee.thread_core?.pointee {
                ranges.append((thread.futex_rla, UInt64(thread.futex_rla_len)))
                if let sequence = thread.rseq_entry?.pointee {
                    ranges.append((sequence.rseq_abi_pointer, UInt64(sequence.rseq_abi_size)))
                }
            }
            var pages: Set<UInt64> = []
            for (start, length) in ranges where start > Page.size && start < 1 << 56 && length < 1 << 20 {
                var page = start & ~(Page.size - 1)
                while page < start + length {
                    pages.insert(page)
                    page += Page.size
                }
            }
            return pages
        }
    }
}
