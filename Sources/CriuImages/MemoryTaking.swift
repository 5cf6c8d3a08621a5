import Glibc
import LinuxSystem

/// The memory of a snapshot's processes, opened before a dump that is to leave theirs where it is.
///
/// CRIU writes every page of a process, for the kernel tells it of none that it did not change. Where there is a parent
/// to compare with, the pages are better read from the process while it stands still: what is equal is never written.
public final class ParentMemory: @unchecked Sendable {
    // Sendable because nothing in it changes.
    let path: String?
    let inherited: [Int32: (chain: PageChain, pages: InheritedPages)]

    /// The processes, by their pids in the sandbox.
    public var processes: [Int32] { inherited.keys.sorted() }

    /// None: all memory is stored.
    public init() { (path, inherited) = (nil, [:]) }

    /// Opens the image directory at `path`.
    public init(in path: String) throws(CriuImageError) {
        self.path = path
        let images = try ImageDirectory(path)
        var found: [Int32: (chain: PageChain, pages: InheritedPages)] = [:]
        for (name, pid) in images.ownPageMaps() {
            if let chain = try PageChain(name, in: images) { found[pid] = (chain, InheritedPages(chain)) }
        }
        inherited = found
    }
}

/// Memory that was taken from processes.
public struct TakenMemory {
    /// What became of that of large ones.
    var shares = MemoryShares()
    /// That of all others.
    var held: [HeldPages] = []
    let parent: ParentMemory

    /// How much of one process, and of all of them, is copied while they stand still and compared when they go on, in
    /// bytes: to compare more takes less time than to copy it.
    public struct Bounds: Sendable {
        let process: UInt64
        let total: UInt64
        public init(process: UInt64, total: UInt64) { (self.process, self.total) = (process, total) }
        public static let usual = Bounds(process: 4 << 20, total: 64 << 20)
    }
}

extension ImageDirectory {
    /// Takes the pages that a fresh dump has left in the processes, for `shareMemory` to deal with as with those of files.
    ///
    /// `processes` are the host's pids by those in the sandbox; all of them stand still until this returns. When it
    /// throws, the images are of no use: nobody has the pages.
    public func takeMemory(
        of processes: [Int32: Int32], sharing parent: ParentMemory, _ bounds: TakenMemory.Bounds = .usual
    ) throws(CriuImageError) -> TakenMemory {
        var taken = TakenMemory(parent: parent)
        // What CRIU was told to take for the parent.
        unlinkat(directory.raw, Self.parentName, 0)
        var left = bounds.total
        for pid in parent.processes {
            let name = "pagemap-\(pid).img"
            guard let bytes = try readIfPresent(name) else { continue }
            let map = try PageMap(name, parsing: bytes)
            guard let process = processes[pid] else {
                throw CriuImageError(name, "is of a process that is nowhere to be seen")
            }
            try take(map, of: pid, in: process, bounds, &left, &taken) { () throws(CriuImageError) in }
        }
        return taken
    }

    /// Takes the pages of one process, of which `map` tells. `prepare` is called before a large one's are compared at once,
    /// for which its images must be there.
    func take(
        _ map: PageMap, of pid: Int32, in process: Int32, _ bounds: TakenMemory.Bounds, _ left: inout UInt64,
        _ taken: inout TakenMemory, prepare: () throws(CriuImageError) -> Void
    ) throws(CriuImageError) {
        let stored = map.storedBytes == 0 ? MappedPages() : try mapPages(of: map, at: "")
        let pages = DumpedPages(map, stored, process: process)
        let size = UInt64(map.pageCount) * Page.size
        if size <= min(bounds.process, left) {
            left -= size
            do throws(SystemError) { taken.held.append(try HeldPages(pages)) } catch {
                throw CriuImageError(map.name, "tells of pages that cannot be read", cause: error)
            }
        } else {
            try prepare()
            try share(pages, of: pid, with: taken.parent, &taken.shares)
        }
    }

    /// Stores what was copied.
    func store(_ taken: TakenMemory) throws(CriuImageError) -> MemoryShares {
        var shares = taken.shares
        for pages in taken.held {
            guard let pid = Self.process(of: pages.map.name) else { continue }
            try share(DumpedPages(pages), of: pid, with: taken.parent, &shares)
        }
        return shares
    }

    private func share(
        _ pages: DumpedPages, of pid: Int32, with parent: ParentMemory, _ shares: inout MemoryShares
    ) throws(CriuImageError) {
        let areas = try memoryAreas(of: "\(pid)", objects: nil)
        let (theirs, name) = (parent.inherited[pid], pages.map.name)
        guard let theirs, let path = parent.path else {
            return try share(pages, nil, as: name, from: self, areas.zeroFilled, &shares)
        }
        try share(pages, theirs, as: name, from: try ImageDirectory(path), areas.zeroFilled, &shares)
    }
}
