import CCriuImages
import Glibc

/// One mapping of a process, as proc_pid_maps(5) has a line for it.
public struct MemoryRegion: Equatable, Sendable {
    /// What is mapped.
    public enum Kind: Equatable, Sendable {
        /// MAP_PRIVATE without a file: heap, stacks, what malloc takes.
        case anonymous
        /// MAP_PRIVATE of a file, by its id in `files.img`: programs and libraries.
        case privateFile(id: UInt32)
        /// MAP_SHARED of a file, by its id in `files.img`.
        case sharedFile(id: UInt32)
        /// Memory shared between processes, by the number of its segment.
        case shared(segment: UInt64)
        /// Kernel data that a restore maps anew and that is not stored: vvar, vsyscall.
        case kernelData
        /// The kernel's code in every process; stored.
        case vdso
        /// A ring of io_setup(2).
        case asynchronousRing
        /// A kind that CRIU 4.2 does not store pages of.
        case unknown
    }

    public let start: UInt64
    /// The first address after it.
    public let end: UInt64
    public let kind: Kind
    /// PROT_* of mmap(2).
    public let protection: UInt32
    /// MAP_* of mmap(2).
    public let flags: UInt32
    /// Where in the file or segment it begins, in bytes.
    public let offset: UInt64
    /// Whether the kernel let it grow as the stack or heap of the process (`VMA_AREA_STACK`, `VMA_AREA_HEAP`).
    public let isStack: Bool
    public let isHeap: Bool

    public var range: Range<UInt64> { start..<end }
    /// Its length in bytes.
    public var size: UInt64 { end - start }
    public var isReadable: Bool { protection & UInt32(PROT_READ) != 0 }
    public var isWritable: Bool { protection & UInt32(PROT_WRITE) != 0 }
    public var isExecutable: Bool { protection & UInt32(PROT_EXEC) != 0 }

    /// What proc_pid_maps(5) calls its permissions, for example `r-xp`.
    public var permissions: String {
        (isReadable ? "r" : "-") + (isWritable ? "w" : "-") + (isExecutable ? "x" : "-")
            + (flags & UInt32(MAP_SHARED) != 0 ? "s" : "p")
    }
}

/// The address space of a process: `mm-PID.img`.
public struct MemoryMap: Equatable, Sendable {
    /// Where the program's code, data, heap, arguments and environment lie (proc_pid_stat(5)).
    public let code: Range<UInt64>
    public let data: Range<UInt64>
    public let heap: Range<UInt64>
    public let arguments: Range<UInt64>
    public let environment: Range<UInt64>
    public let stackStart: UInt64
    /// The program's id in `files.img`.
    public let executable: UInt32
    /// The auxiliary vector: AT_* and value (getauxval(3)).
    public let auxiliary: [(type: UInt64, value: UInt64)]
    /// PR_SET_DUMPABLE of prctl(2), where it is known.
    public let dumpable: Int32?
    /// Sorted by address, without overlaps.
    public let regions: [MemoryRegion]

    /// The mapping that has this address.
    public func region(at address: UInt64) -> MemoryRegion? {
        let after = regions.partitioningIndex { $0.end > address }
        guard after < regions.count, regions[after].start <= address else { return nil }
        return regions[after]
    }

    /// How many bytes from `address` on are mapped without a gap, `limit` at most.
    public func mapped(from address: UInt64, atMost limit: UInt64) -> UInt64 {
        var position = address
        while position - address < limit, let region = region(at: position) { position = region.end }
        return min(position - address, limit)
    }

    /// The mappings next to an address that is not mapped.
    public func neighbours(of address: UInt64) -> (below: MemoryRegion?, above: MemoryRegion?) {
        let after = regions.partitioningIndex { $0.end > address }
        return (after > 0 ? regions[after - 1] : nil, after < regions.count ? regions[after] : nil)
    }

    public static func == (one: MemoryMap, other: MemoryMap) -> Bool {
        one.code == other.code && one.data == other.data && one.heap == other.heap
            && one.arguments == other.arguments && one.environment == other.environment
            && one.stackStart == other.stackStart && one.executable == other.executable
            && one.auxiliary.elementsEqual(other.auxiliary, by: ==) && one.dumpable == other.dumpable
            && one.regions == other.regions
    }
}

extension ImageDirectory {
    /// The address space of a process. A zombie has none: its file is missing.
    public func memoryMap(of pid: Int32) throws(CriuImageError) -> MemoryMap {
        let file = try file("mm-\(pid).img", .memoryMap)
        return try file.decodeOnly(mm_entry__unpack, mm_entry__free_unpacked) {
            message throws(CriuImageError) in
            let entry = message.pointee
            func range(_ from: UInt64, _ to: UInt64) -> Range<UInt64> { from..<max(from, to) }
            let words = numbers(entry.mm_saved_auxv, entry.n_mm_saved_auxv)
            let pairs = stride(from: 0, to: words.count - words.count % 2, by: 2).map {
                (type: words[$0], value: words[$0 + 1])
            }
            return MemoryMap(
                code: range(entry.mm_start_code, entry.mm_end_code),
                data: range(entry.mm_start_data, entry.mm_end_data),
                heap: range(entry.mm_start_brk, entry.mm_brk),
                arguments: range(entry.mm_arg_start, entry.mm_arg_end),
                environment: range(entry.mm_env_start, entry.mm_env_end), stackStart: entry.mm_start_stack,
                executable: entry.exe_file_id,
                auxiliary: Array(pairs.prefix { $0.type != 0 }),
                dumpable: entry.has_dumpable != 0 ? entry.dumpable : nil,
                regions: try regions(of: entry, in: file.name))
        }
    }

    private func regions(of entry: MmEntry, in file: String) throws(CriuImageError) -> [MemoryRegion] {
        var regions: [MemoryRegion] = []
        for (index, area) in messages(entry.vmas, entry.n_vmas).enumerated() {
            let area = area.pointee
            // Not a mapping, but guard pages within one (MADV_GUARD_INSTALL, madvise(2)).
            if area.status & AreaStatus.guardPages != 0 { continue }
            guard area.start < area.end, area.start % Page.size == 0, area.end % Page.size == 0 else {
                let place = "\(hexadecimal(area.start)) to \(hexadecimal(area.end))"
                throw CriuImageError(file, entry: 0, "has the impossible mapping \(index) from \(place)")
            }
            guard area.start >= regions.last?.end ?? 0 else {
                throw CriuImageError(file, entry: 0, "has mapping \(index) over the one before it")
            }
            let region = MemoryRegion(area)
            // Above lies nothing of a process but vsyscall (Documentation/arch/x86/x86_64/5level-paging.rst).
            guard region.end <= 1 << 56 || region.kind == .kernelData && region.size <= 1 << 20 else {
                throw CriuImageError(file, entry: 0, "has mapping \(index) where no process can have one")
            }
            regions.append(region)
        }
        return regions
    }
}

extension MemoryRegion {
    fileprivate init(_ area: VmaEntry) {
        start = area.start
        end = area.end
        protection = area.prot
        flags = area.flags
        offset = area.pgoff
        isStack = area.status & AreaStatus.stack != 0
        isHeap = area.status & AreaStatus.heap != 0
        kind = Self.kind(of: area)
    }

    private static func kind(of area: VmaEntry) -> Kind {
        let id = UInt32(truncatingIfNeeded: area.shmid)
        return switch area.status {
        case let status where status & (AreaStatus.vvar | AreaStatus.vsyscall) != 0: .kernelData
        case let status where status & AreaStatus.vdso != 0: .vdso
        case let status where status & AreaStatus.asynchronousRing != 0: .asynchronousRing
        case let status where status & AreaStatus.sharedAnonymous != 0: .shared(segment: area.shmid)
        case let status where status & AreaStatus.privateFile != 0: .privateFile(id: id)
        case let status where status & AreaStatus.sharedFile != 0: .sharedFile(id: id)
        case let status where status & AreaStatus.privateAnonymous != 0: .anonymous
        default: .unknown
        }
    }
}

/// The unit of memory maps, in bytes: x86-64 has pages of 4 KiB.
public enum Page {
    public static let size: UInt64 = 4096
}

/// An address as a reader expects it, for example `0x7ffe1000`.
func hexadecimal(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }

extension RandomAccessCollection {
    /// The first index from which on `belongs` holds; it must hold for a tail of the collection.
    func partitioningIndex(where belongs: (Element) throws -> Bool) rethrows -> Index {
        var (low, count) = (startIndex, count)
        while count > 0 {
            let half = count / 2
            let middle = index(low, offsetBy: half)
            if try belongs(self[middle]) {
                count = half
            } else {
                low = index(after: middle)
                count -= half + 1
            }
        }
        return low
    }
}
