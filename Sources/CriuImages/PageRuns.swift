import Glibc
import LinuxSystem

/// Where the pages of one process lie in the files of an image directory and its parents: runs that follow one another, in
/// memory and in their file.
struct PageRuns: Sendable {
    private struct Run {
        let address: UInt64
        let offset: UInt64
        var count: Int
        /// Which of the anonymous mappings all of it lies in.
        let mapping: Int?
    }

    /// By the path of each file that has any.
    private var files: [(path: String, runs: [Run])] = []
    /// Those of the vDSO.
    private var kernels: [(path: String, run: Run)] = []
    private(set) var pageCount = 0
    /// The anonymous mappings that have any.
    private var anonymous: [Range<UInt64>] = []
    /// Whether there are pages that come later.
    private let hasMore: Bool

    /// Of the image directory at `path`; the pages of `vdso` are not copied, and those of `late` come later. `anonymous` are
    /// mappings of no file. All are in order. Throws where a page is missing.
    init(
        _ chain: PageChain, in path: String, vdso: Range<UInt64>, anonymous: [Range<UInt64>],
        late: [LazyProcess.Extent]
    ) throws(CriuImageError) {
        let top = chain.levels[0].map
        hasMore = !late.isEmpty
        files = chain.levels.map { ("\(path)/\($0.place)\($0.map.pagesName)", []) }
        let slots = chain.slots()
        var (index, next, nextLate) = (0, 0, 0)
        for run in top.runs {
            for page in 0..<run.count {
                let slot = slots[index]
                index += 1
                guard !slot.isNone else { throw CriuImageError(top.name, "inherits a page that nobody has") }
                let (address, offset) = (
                    run.start + UInt64(page * pageSize), UInt64(slot.page) * UInt64(pageSize)
                )
                while nextLate < late.count, late[nextLate].end <= address { nextLate += 1 }
                if nextLate < late.count, late[nextLate].start <= address { continue }
                pageCount += 1
                while next < anonymous.count, anonymous[next].upperBound <= address { next += 1 }
                let mapping = next < anonymous.count && anonymous[next].contains(address) ? next : nil
                let one = Run(address: address, offset: offset, count: 1, mapping: mapping)
                if vdso.contains(address) {
                    kernels.append((files[slot.level].path, one))
                    continue
                }
                if let mapping, self.anonymous.last != anonymous[mapping] {
                    self.anonymous.append(anonymous[mapping])
                }
                let last = files[slot.level].runs.count - 1
                if last >= 0 {
                    let before = files[slot.level].runs[last]
                    let length = UInt64(before.count * pageSize)
                    if before.address + length == address, before.offset + length == offset,
                        before.mapping == mapping
                    {
                        files[slot.level].runs[last].count += 1
                        continue
                    }
                }
                files[slot.level].runs.append(one)
            }
        }
        files.removeAll { $0.runs.isEmpty }
    }

    /// Whether the pages of the vDSO are those of this kernel: programs know where in it its functions are.
    func isOfThisKernel(_ vdso: Range<UInt64>) -> Bool {
        guard let own = UnsafeRawPointer(bitPattern: Self.ownVDSO),
            kernels.count * pageSize == Int(vdso.upperBound - vdso.lowerBound)
        else { return false }
        return kernels.allSatisfy { path, run in
            guard let file = try? Descriptor.open(path, O_RDONLY) else { return false }
            var page = [UInt8](repeating: 0, count: pageSize)
            return pread(file.raw, &page, pageSize, off_t(run.offset)) == pageSize
                && memcmp(page, own + Int(run.address - vdso.lowerBound), pageSize) == 0
        }
    }

    /// Where this process has it; 0 where it has none.
    private static let ownVDSO: UInt = {
        let lines = ProcText("/proc/self/maps")?.bytes.split(separator: newline) ?? []
        let area = lines.lazy.compactMap { LiveArea(header: $0) }.first { $0.name == "[vdso]" }
        return area.map { UInt($0.start) } ?? 0
    }()

    /// Copies them into a process, which stands still, whatever its mappings allow.
    ///
    /// Where it has a userfaultfd of that number, what belongs into anonymous mappings goes through it. One by which the
    /// rest is to come tells events, is returned and covers nothing yet.
    @discardableResult
    func copy(to process: Int32, through number: Int32) throws(CriuImageError) -> UserFault? {
        do throws(SystemError) {
            let userFault =
                hasMore || !anonymous.isEmpty && UserFault.isThere
                ? try UserFault(of: process, at: number, tellsEvents: hasMore) : nil
            try userFault?.cover(anonymous)
            let memory = try Descriptor.open("/proc/\(process)/mem", O_RDWR)
            let room = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.piece, alignment: pageSize)
            defer { room.deallocate() }
            for (path, runs) in files {
                let file = try Descriptor.open(path, O_RDONLY)
                let pages = userFault == nil ? nil : Self.map(file, path)
                for run in runs where !Self.put(run, of: pages, through: userFault) {
                    try Self.copy(run, from: file, to: memory, through: room)
                }
            }
            // What is closed covers nothing any more.
            guard hasMore else { return nil }
            try userFault?.leave(anonymous)
            return userFault
        } catch { throw CriuImageError("pages", "cannot be copied", cause: error) }
    }

    private static func map(_ file: borrowing Descriptor, _ path: String) -> MappedPages? {
        var status = stat()
        guard fstat(file.raw, &status) == 0 else { return nil }
        return try? MappedPages(file, path, length: Int(status.st_size), isAllThere: false)
    }

    /// Whether that went well; else what is wrong shows when the run is read.
    private static func put(
        _ run: Run, of pages: MappedPages?, through userFault: UserFault?
    ) -> Bool {
        guard let pages, let userFault, run.mapping != nil else { return false }
        let (offset, size) = (Int(run.offset), run.count * pageSize)
        guard offset + size <= pages.length else { return false }
        return userFault.put(pages.start + offset, at: run.address, size: size)
    }

    /// Bytes that are read at once.
    private static let piece = 1 << 20

    private static func copy(
        _ run: Run, from file: borrowing Descriptor, to memory: borrowing Descriptor,
        through room: UnsafeMutableRawBufferPointer
    ) throws(SystemError) {
        let (from, to) = (file.raw, memory.raw)
        let size = run.count * pageSize
        var done = 0
        while done < size {
            let wanted = min(size - done, room.count)
            let got = try retrying("pread") {
                pread(from, room.baseAddress, wanted, off_t(run.offset) + off_t(done))
            }
            guard got > 0, got % pageSize == 0 else { throw SystemError(call: "pread", code: EIO) }
            // Addresses of programs are positive.
            let put = try retrying("pwrite") {
                pwrite(to, room.baseAddress, got, off_t(run.address) + off_t(done))
            }
            guard put == got else { throw SystemError(call: "pwrite", code: EFAULT, subject: "memory") }
            done += got
        }
    }
}
