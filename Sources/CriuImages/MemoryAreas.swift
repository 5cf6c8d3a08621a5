import CCriuImages

/// What the sharing of pages has to know of an address space, from `mm-PID.img`.
struct MemoryAreas {
    /// Areas that are zero where no page is stored, by address.
    var zeroFilled: [Range<UInt64>] = []
    /// Pieces of shared memory: where each is mapped, and its number in the image.
    var shared: [UInt64: UInt64] = [:]
}

private let plain = AreaStatus.regular | AreaStatus.privateAnonymous
private let special =
    AreaStatus.kernels | AreaStatus.asynchronousRing | AreaStatus.shadowStack | AreaStatus.guardPages
    | AreaStatus.probes
/// MAP_HUGETLB of <sys/mman.h>.
private let hugePages: UInt32 = 0x40000

extension ImageDirectory {
    /// Reads `mm-PID.img`. A page without an entry in the pagemap is what a fresh mapping shows: zero in private
    /// anonymous memory, the file's content in a private mapping of a file (criu/mem.c, `restore_priv_vma_content`).
    ///
    /// `objects` tell which mapped files are memory: a segment without a file is restored as one.
    func memoryAreas(of pid: String, objects: MappedObjects?) throws(CriuImageError) -> MemoryAreas {
        let map = try file("mm-\(pid).img", .memoryMap)
        _ = try map.onlyEntry()
        return try map.decode(0, mm_entry__unpack, mm_entry__free_unpacked) { entry throws(CriuImageError) in
            var areas = MemoryAreas()
            for area in UnsafeBufferPointer(start: entry.pointee.vmas, count: entry.pointee.n_vmas) {
                guard let area = area?.pointee, area.start < area.end else { continue }
                if area.status & AreaStatus.sharedAnonymous != 0 {
                    areas.shared[area.start] = area.shmid
                } else if case .memory(let segment, _) = objects?.objects[
                    UInt32(truncatingIfNeeded: area.shmid)],
                    area.status & (AreaStatus.privateFile | AreaStatus.sharedFile) != 0
                {
                    areas.shared[area.start] = segment
                }
                if area.status & plain == plain,
                    area.status & special == 0, area.flags & hugePages == 0
                {
                    areas.zeroFilled.append(area.start..<area.end)
                }
            }
            areas.zeroFilled.sort { $0.lowerBound < $1.lowerBound }
            return areas
        }
    }
}
