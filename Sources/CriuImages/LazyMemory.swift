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
        /// How much of the smallest mappings is restored at once: what a process works with lies there, and each
        /// page that it waits for costs it as much as fifty that CRIU reads.
        public var early: UInt64
        public init(mapping: UInt64, total: UInt64, early: UInt64) {
            (self.mapping, self.total, self.early) = (mapping, total, early)
        }

        /// Below it takes less time to read memory than to serve it.
        public static let usual = Bounds(mapping: 256 << 10, total: 48 << 20, early: 8 << 20)
        /// Where it is asked for.
        public static let least = Bounds(mapping: 64 << 10, total: 64 << 10, early: 0)
    }

    public let processes: [LazyProcess]
    /// The paths of the files with the pages.
    public let files: [String]

    public var bytes: UInt64 { processes.reduce(0) { $0 + $1.bytes } }

    /// Looks through the image directory at `path`; nil where there is too little.
    ///
    /// Only anonymous private memory is taken that no parent or child may share: CRIU restores what two
    /// processes have in common once. What the kernel touches by itself before a process runs is left out.
    public init?(in path: String, _ bounds: Bounds) throws(CriuImageError) {
        let images = try ImageDirectory(path)
        let tree = try images.processes().filter { $0.state == .alive || $0.state == .stopped }
        var maps: [Int32: MemoryMap] = [:]
        for process in tree { maps[process.pid] = try images.memoryMap(of: process.pid) }
        var files = FileTable(path)
        var pieces: [Piece] = []
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
            pieces += try Self.pieces(
                of: process.pid, regions, keeping: kept.sorted(), bounds, in: images, &files)
        }
        processes = Self.processes(of: Self.late(pieces, bounds))
        self.files = files.paths
        if processes.isEmpty || bytes < bounds.total { return nil }
    }

    /// What of one mapping may be lazy.
    private struct Piece {
        let pid: Int32
        let extents: [LazyProcess.Extent]
        let bytes: UInt64
    }

    /// All but the smallest.
    private static func late(_ pieces: [Piece], _ bounds: Bounds) -> [Piece] {
        var early: UInt64 = 0
        var isEarly = [Bool](repeating: false, count: pieces.count)
        for index in pieces.indices.sorted(by: { pieces[$0].bytes < pieces[$1].bytes }) {
            early += pieces[index].bytes
            if early > bounds.early { break }
            isEarly[index] = true
        }
        return pieces.indices.filter { !isEarly[$0] }.map { pieces[$0] }
    }

    /// Those of each process together; `pieces` are in the order of processes and addresses.
    private static func processes(of pieces: [Piece]) -> [LazyProcess] {
        var next = pieces[...]
        var processes: [LazyProcess] = []
        while let first = next.first {
            let own = next.prefix { $0.pid == first.pid }
            processes.append(
                LazyProcess(
                    pid: first.pid, extents: own.flatMap(\.extents),
                    ranges: own.map { $0.extents.first!.start..<$0.extents.last!.end }))
            next = next.dropFirst(own.count)
        }
        return processes
    }

    private static func pieces(
        of pid: Int32, _ regions: [MemoryRegion], keeping kept: [UInt64], _ bounds: Bounds,
        in images: borrowing ImageDirectory, _ files: inout FileTable
    ) throws(CriuImageError) -> [Piece] {
        guard let pages = try StoredPages("\(pid)", in: images) else { return [] }
        var found: [Piece] = []
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
            let bytes = own.reduce(0) { $0 + $1.pages * Page.size }
            if bytes >= bounds.mapping { found.append(Piece(pid: pid, extents: own, bytes: bytes)) }
        }
        return found
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
    /// MAP_GROWSDOWN, MAP_LOCKED and MAP_HUGETLB of <linux/mman.h>: stacks grow into pages nobody asked for,
    /// and locked memory must be there.
    private static var unfit: UInt32 { 0x100 | 0x2000 | 0x40000 }

    fileprivate var mayBeLazy: Bool { kind == .anonymous && !isStack && flags & Self.unfit == 0 }
}

extension ImageDirectory {
    /// The pages of a thread's memory that the kernel reads or writes without its doing, from the moment that
    /// CRIU names them on: its thread area with the one for restartable sequences (rseq(2)), the list of its
    /// robust futexes, the place that is cleared at its end (set_tid_address(2)); and where its stack ends,
    /// which signals are put on.
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
