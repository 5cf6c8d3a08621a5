import Glibc
import LinuxSystem

/// The memory of one process of a snapshot: every page of every mapping, wherever it is kept.
///
/// A page that is not in the images is zero in anonymous memory, and in a private file mapping it is the file's.
/// Pages that an image directory inherits are read from its parents. Reading from many threads at once is safe.
public struct ProcessMemory: Sendable {
    /// What a run of pages comes from.
    public enum Source: Equatable, Sendable {
        /// The image directory's own pages.
        case stored
        /// The pages of a parent, 1 for the nearest.
        case inherited(level: Int)
        /// Never touched, or dropped because it was zero.
        case zero
        /// The mapped file, which the root filesystem has.
        case file
        /// Not saved: data that the kernel provides anew (vvar, vsyscall), and what lies behind the end of a file.
        case notSaved
    }

    /// Pages that follow one another, in memory and in what they come from.
    public struct Run: Equatable, Sendable {
        public let range: Range<UInt64>
        public let source: Source
        /// How many pages.
        public var pages: UInt64 { (range.upperBound - range.lowerBound) / Page.size }
    }

    public let pid: Int32
    public let map: MemoryMap
    private let own: StoredPages?
    private let objects: MappedObjects
    private let segments: [UInt64: StoredPages]
    private let ghosts: [UInt32: GhostFile]
    let files: any MappedFiles

    /// Opens the memory of process `pid`, which is not a zombie; `files` reads the snapshot's root filesystem.
    public init(
        of pid: Int32, in images: borrowing ImageDirectory, files: any MappedFiles
    ) throws(CriuImageError) {
        self.pid = pid
        self.files = files
        map = try images.memoryMap(of: pid)
        own = try StoredPages("\(pid)", in: images)
        let objects = try MappedObjects(images)
        self.objects = objects
        var (segments, ghosts) = ([UInt64: StoredPages](), [UInt32: GhostFile]())
        for region in map.regions {
            if let number = Self.segment(of: region, objects), segments[number] == nil {
                segments[number] = try StoredPages("shmem-\(number)", in: images)
            }
            if let id = region.file, case .deleted(let ghost, _) = objects.objects[id], ghosts[ghost] == nil {
                ghosts[ghost] = try GhostFile(id: ghost, in: images)
            }
        }
        (self.segments, self.ghosts) = (segments, ghosts)
    }

    private static func segment(of region: MemoryRegion, _ objects: MappedObjects) -> UInt64? {
        if case .shared(let segment) = region.kind { return segment }
        if let id = region.file, case .memory(let segment, _) = objects.objects[id] { return segment }
        return nil
    }

    /// The name of what is mapped, as proc_pid_maps(5) shows it: a path, `[heap]`, `[stack]`, `[vdso]`; nil for
    /// plain anonymous memory.
    public func name(of region: MemoryRegion) -> String? {
        if let id = region.file {
            switch objects.objects[id] {
            case .path(let path, _): return path
            case .deleted(_, let name): return name + " (deleted)"
            case .memory(_, let name): return name
            case nil: return nil
            }
        }
        switch region.kind {
        case .vdso: return "[vdso]"
        case .kernelData: return "[vvar]"
        case .asynchronousRing: return "/[aio]"
        default: break
        }
        if region.range.overlaps(map.heap) { return "[heap]" }
        return region.range.contains(map.stackStart) ? "[stack]" : nil
    }

    /// Whether a mapping is of a memory file: memfd_create(2), and shared memory, which CRIU stores as one.
    func isMemoryFile(_ region: MemoryRegion) -> Bool { Self.segment(of: region, objects) != nil }

    /// Whether a mapping's memory is shared with whoever maps the same.
    public func isShared(_ region: MemoryRegion) -> Bool { region.flags & UInt32(MAP_SHARED) != 0 }

    /// Where the pages of a mapping come from, in order.
    public func runs(of region: MemoryRegion) throws(CriuImageError) -> [Run] {
        var (runs, address) = ([Run](), region.start)
        while address < region.end {
            let piece = try locate(address, in: region)
            let source = piece.origin.source
            if let last = runs.last, last.source == source {
                runs[runs.count - 1] = Run(range: last.range.lowerBound..<piece.end, source: source)
            } else {
                runs.append(Run(range: address..<piece.end, source: source))
            }
            address = piece.end
        }
        return runs
    }

    /// Reads `count` bytes from `address` on; all of them must be mapped and saved.
    public func read(_ address: UInt64, count: Int) throws(CriuImageError) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        var position = address
        let (end, overflow) = address.addingReportingOverflow(UInt64(count))
        guard !overflow else { throw unmapped(address) }
        while position < end {
            guard let region = map.region(at: position) else { throw unmapped(position) }
            let page = position & ~(Page.size - 1)
            let piece = try locate(page, in: region)
            let stop = min(piece.end, end)
            bytes += try contents(
                piece.origin.advanced(by: position - page), Int(stop - position), at: position)
            position = stop
        }
        return bytes
    }

    private func unmapped(_ address: UInt64) -> CriuImageError {
        CriuImageError("mm-\(pid).img", "has nothing mapped at \(hexadecimal(address))")
    }
}

extension ProcessMemory {
    /// The exact place of a page.
    enum Origin {
        case pages(StoredPages, level: Int, offset: UInt64)
        case zero
        case path(String, offset: UInt64, size: UInt64?)
        case ghost(GhostFile, offset: UInt64)
        case notSaved

        var source: Source {
            switch self {
            case .pages(_, level: 0, _): .stored
            case .pages(_, let level, _): .inherited(level: level)
            case .zero: .zero
            case .path, .ghost: .file
            case .notSaved: .notSaved
            }
        }

        func advanced(by bytes: UInt64) -> Origin {
            switch self {
            case .pages(let pages, let level, let offset): .pages(pages, level: level, offset: offset + bytes)
            case .path(let path, let offset, let size): .path(path, offset: offset + bytes, size: size)
            case .ghost(let ghost, let offset): .ghost(ghost, offset: offset + bytes)
            case .zero, .notSaved: self
            }
        }
    }

    /// Where the page of `address` is, and up to where in the mapping the next ones follow it.
    func locate(
        _ address: UInt64, in region: MemoryRegion
    ) throws(CriuImageError) -> (origin: Origin, end: UInt64) {
        var end = region.end
        if region.hasOwnPages, let own {
            let found = try own.find(address, upTo: end)
            if case .stored(let level, let offset) = found.place {
                return (.pages(own, level: level, offset: offset), found.end)
            }
            end = found.end
        }
        return try locateBehind(address, in: region, upTo: end)
    }

    /// The same for a page that the process has none of its own of.
    private func locateBehind(
        _ address: UInt64, in region: MemoryRegion, upTo end: UInt64
    ) throws(CriuImageError) -> (origin: Origin, end: UInt64) {
        let (offset, overflow) = region.offset.addingReportingOverflow(address - region.start)
        guard !overflow, offset <= UInt64(Int64.max) - (end - address) else {
            throw CriuImageError("mm-\(pid).img", "maps \(hexadecimal(address)) from an impossible offset")
        }
        if region.kind == .kernelData || region.kind == .unknown { return (.notSaved, end) }
        if let segment = Self.segment(of: region, objects) {
            guard let pages = segments[segment] else { return (.zero, end) }
            let found = try pages.find(offset, upTo: offset + (end - address))
            let stop = address + (found.end - offset)
            guard case .stored(let level, let place) = found.place else { return (.zero, stop) }
            return (.pages(pages, level: level, offset: place), stop)
        }
        switch region.file.flatMap({ objects.objects[$0] }) {
        case .path(let path, let saved):
            guard let size = saved ?? files.identity(of: path)?.size else {
                return (.path(path, offset: offset, size: nil), end)
            }
            // What is mapped behind the file's last page is there for nobody.
            let pages = size / Page.size + (size % Page.size == 0 ? 0 : 1)
            guard offset / Page.size < pages else { return (.notSaved, end) }
            let last =
                pages > UInt64(Int64.max) / Page.size ? end : min(end, address + (pages * Page.size - offset))
            return (.path(path, offset: offset, size: saved), last)
        case .deleted(let id, _): return (ghosts[id].map { .ghost($0, offset: offset) } ?? .notSaved, end)
        case .memory, nil: return (region.file == nil ? .zero : .notSaved, end)
        }
    }

    func contents(
        _ origin: Origin, _ count: Int, at address: UInt64
    ) throws(CriuImageError) -> [UInt8] {
        var bytes: [UInt8]
        switch origin {
        case .zero: bytes = []
        case .path(let path, let offset, let size):
            let place = "maps \(path) at \(hexadecimal(address))"
            guard let found = files.read(path, offset: offset, count: count) else {
                throw CriuImageError("mm-\(pid).img", "\(place), and there is no such file")
            }
            if let size, let now = files.identity(of: path)?.size, now != size {
                throw CriuImageError(
                    "mm-\(pid).img",
                    "\(place), which is another file now: it had \(size) bytes and has \(now)")
            }
            bytes = found
        case .ghost(let ghost, let offset): bytes = try ghost.read(offset: offset, count: count)
        case .notSaved:
            throw CriuImageError(
                "mm-\(pid).img",
                "maps \(hexadecimal(address)) to what is not saved: the kernel's data, or behind a file's end"
            )
        case .pages(let pages, let level, let offset):
            bytes = [UInt8](repeating: 0, count: count)
            var failure: CriuImageError?
            bytes.withUnsafeMutableBytes { buffer in
                do throws(CriuImageError) {
                    try pages.read(level: level, offset: offset, into: buffer)
                } catch { failure = error }
            }
            if let failure { throw failure }
        }
        // A file's last page is filled up with zeros.
        if bytes.count < count { bytes += [UInt8](repeating: 0, count: count - bytes.count) }
        return bytes
    }
}

extension MemoryRegion {
    /// The id in `files.img` of what is mapped.
    public var file: UInt32? {
        switch kind {
        case .privateFile(let id), .sharedFile(let id): id
        default: nil
        }
    }

    /// Whether the process has pages of its own of it, in its page map (CRIU's criu/include/vma.h,
    /// `vma_entry_is_private`).
    fileprivate var hasOwnPages: Bool {
        switch kind {
        case .anonymous, .privateFile, .vdso, .asynchronousRing: true
        case .sharedFile, .shared, .kernelData, .unknown: false
        }
    }
}
