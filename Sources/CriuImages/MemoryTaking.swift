import Glibc
import LinuxSystem

/// The memory of a snapshot's large processes, opened before a dump that is to leave theirs where it is.
///
/// CRIU writes every page of a process, for the kernel tells it of none that it did not change. Where there is a parent
/// to compare with, the pages are better read from the process while it stands still: what is equal is never written.
public final class ParentMemory {
    /// Below it CRIU writes the pages in less time than it takes to prepare this, in bytes.
    public static let least: UInt64 = 8 << 20

    let path: String
    let inherited: [Int32: (chain: PageChain, pages: InheritedPages)]

    /// The processes, by their pids in the sandbox.
    public var processes: [Int32] { inherited.keys.sorted() }

    /// Opens the image directory at `path`; nil where no process of it has `least` bytes.
    public init?(in path: String, least: UInt64 = ParentMemory.least) throws(CriuImageError) {
        self.path = path
        let images = try ImageDirectory(path)
        var found: [Int32: (chain: PageChain, pages: InheritedPages)] = [:]
        for (name, pid) in images.ownPageMaps() {
            guard try UInt64(PageMap(name, parsing: images.read(name)).pageCount) * Page.size >= least,
                let chain = try PageChain(name, in: images)
            else { continue }
            found[pid] = (chain, InheritedPages(chain))
        }
        if found.isEmpty { return nil }
        inherited = found
    }
}

extension ImageDirectory {
    /// Takes the pages that a fresh dump has left in the processes, as `shareMemory` does with those of a file.
    ///
    /// `processes` are the host's pids by those in the sandbox; all of them stand still until this returns. When it
    /// throws, the images are of no use: nobody has the pages.
    public func takeMemory(
        of processes: [Int32: Int32], sharing parent: ParentMemory
    ) throws(CriuImageError) -> MemoryShares {
        var shares = MemoryShares()
        // What CRIU was told to take for the parent.
        unlinkat(directory.raw, Self.parentName, 0)
        let other = try ImageDirectory(parent.path)
        for pid in parent.processes {
            let name = "pagemap-\(pid).img"
            guard let bytes = try readIfPresent(name) else { continue }
            let map = try PageMap(name, parsing: bytes)
            guard let process = processes[pid] else {
                throw CriuImageError(name, "is of a process that is nowhere to be seen")
            }
            let areas = try memoryAreas(of: "\(pid)", objects: nil)
            let pages = DumpedPages(map, try mapPages(of: map, at: ""), process: process)
            try share(pages, parent.inherited[pid]!, as: name, from: other, areas.zeroFilled, &shares)
        }
        return shares
    }
}
