public import Digests
import Glibc
import LinuxSystem

/// What the memory of a snapshot shares with its parent's.
public struct MemoryShares: Sendable {
    /// Pages of all processes and all shared memory, as they were dumped.
    public var pages = 0
    /// Of these, pages of zeros that need no storing.
    public var zero = 0
    /// Of these, pages that an ancestor's file has.
    public var inherited = 0
    /// Of these, pages in files of the snapshot's own.
    public var stored = 0
    /// The digests of the pages files that were written, by name.
    public var digests: [String: Digest] = [:]
    /// Files that are hard links, by path below the image directory: the path below the parent's.
    public var links: [String: String] = [:]
    /// What kept some pages from being shared; they are stored whole.
    public var problems: [CriuImageError] = []
    /// The pagemaps that were dealt with.
    var done: Set<String> = []

    public init() {}
}

extension ImageDirectory {
    /// Stores only those pages of a fresh dump that differ from the parent's; `parent` is the path of the image
    /// directory of the snapshot that the tree came from, on the same filesystem.
    ///
    /// Pages are matched by process id and address. What is inherited becomes `in_parent` in the pagemap, and the files
    /// with those pages are linked into `parent/`, `parent/parent/` …, so that the directory is complete in itself:
    /// the parent may be deleted. Nothing may read the directory meanwhile. Whatever goes wrong with a
    /// process's pages leaves them stored whole, which `problems` tells.
    ///
    /// `taken` is what the dump left in the processes. Throws where that cannot be stored: nobody has it any more.
    public func shareMemory(
        with parent: String?, taken: TakenMemory? = nil
    ) throws(CriuImageError) -> MemoryShares {
        var shares = if let taken { try store(taken) } else { MemoryShares() }
        let other: ImageDirectory?
        do throws(CriuImageError) { other = if let parent { try ImageDirectory(parent) } else { nil } } catch
        {
            shares.problems.append(error)
            other = nil
        }
        let names = pageMapNames()
        let areas = memoryAreas(for: names, &shares)
        for name in names where !shares.done.contains(name) {
            do throws(CriuImageError) {
                let isShared = name.hasPrefix(Self.sharedPrefix)
                let id = String(name.dropFirst(Self.prefix.count).dropLast(Self.suffix.count))
                // A segment is zero where it has no page; its addresses count from its start.
                let zeroFilled = isShared ? [0..<UInt64(1) << 47] : areas[id]?.zeroFilled ?? []
                var chain: PageChain?
                if other != nil {
                    let theirs = isShared ? sharedName(name, areas, in: other!) : name
                    do throws(CriuImageError) { chain = try PageChain(theirs, in: other!) } catch {
                        shares.problems.append(error)
                    }
                    try share(name, chain, as: theirs, from: other!, zeroFilled, &shares)
                } else {
                    try share(name, nil, as: name, from: self, zeroFilled, &shares)
                }
            } catch {
                shares.problems.append(error)
            }
        }
        return shares
    }

    private static var prefix: String { "pagemap-" }
    private static var sharedPrefix: String { "pagemap-shmem-" }
    private static var suffix: String { ".img" }

    private func pageMapNames() -> [String] {
        let names = (try? Files.names(in: "/proc/self/fd/\(directory.raw)")) ?? []
        return names.filter { $0.hasPrefix(Self.prefix) && $0.hasSuffix(Self.suffix) }.sorted()
    }

    /// The pagemaps of processes, with the pids these have in the sandbox.
    func ownPageMaps() -> [(name: String, pid: Int32)] {
        pageMapNames().compactMap { name in Self.process(of: name).map { (name, $0) } }
    }

    /// The process of a pagemap of that name; nil where it is of shared memory.
    static func process(of name: String) -> Int32? {
        Int32(name.dropFirst(prefix.count).dropLast(suffix.count))
    }

    /// The areas of each process that has a pagemap; without them its zeros are kept.
    private func memoryAreas(for names: [String], _ shares: inout MemoryShares) -> [String: MemoryAreas] {
        var areas: [String: MemoryAreas] = [:]
        let objects = names.contains { $0.hasPrefix(Self.sharedPrefix) } ? try? MappedObjects(self) : nil
        for name in names where !name.hasPrefix(Self.sharedPrefix) {
            let pid = String(name.dropFirst(Self.prefix.count).dropLast(Self.suffix.count))
            do throws(CriuImageError) { areas[pid] = try memoryAreas(of: pid, objects: objects) } catch {
                shares.problems.append(error)
            }
        }
        return areas
    }

    /// What the parent calls a piece of shared memory. It is numbered afresh when it is restored, so it is found by a
    /// process and an address at which that maps it.
    private func sharedName(
        _ name: String, _ areas: [String: MemoryAreas], in parent: borrowing ImageDirectory
    ) -> String {
        guard let number = UInt64(name.dropFirst(Self.sharedPrefix.count).dropLast(Self.suffix.count)) else {
            return name
        }
        let objects = try? MappedObjects(parent)
        for pid in areas.keys.sorted() {
            let mapped = areas[pid]!.shared.filter { $0.value == number }.keys.sorted()
            guard !mapped.isEmpty, let theirs = try? parent.memoryAreas(of: pid, objects: objects) else {
                continue
            }
            for address in mapped {
                if let theirNumber = theirs.shared[address] {
                    return Self.sharedPrefix + "\(theirNumber)" + Self.suffix
                }
            }
        }
        return name
    }

    private func share(
        _ name: String, _ chain: PageChain?, as theirs: String, from parent: borrowing ImageDirectory,
        _ zeroFilled: [Range<UInt64>], _ shares: inout MemoryShares
    ) throws(CriuImageError) {
        let map = try PageMap(name, parsing: read(name))
        guard map.storedBytes == UInt64(map.pageCount) * Page.size else {
            throw CriuImageError(name, "inherits pages already: it is not as CRIU dumped it")
        }
        let pages = DumpedPages(map, try mapPages(of: map, at: ""))
        try share(
            pages, chain.map { ($0, InheritedPages($0)) }, as: theirs, from: parent, zeroFilled, &shares)
    }

    /// Makes of a fresh dump's pagemap and pages what is stored of them.
    func share(
        _ pages: DumpedPages, _ inherited: (chain: PageChain, pages: InheritedPages)?, as theirs: String,
        from parent: borrowing ImageDirectory, _ zeroFilled: [Range<UInt64>], _ shares: inout MemoryShares
    ) throws(CriuImageError) {
        let map = pages.map
        let (name, total) = (map.name, map.pageCount)
        shares.pages += total
        shares.stored += total
        var comparison: PageComparison
        do throws(SystemError) {
            comparison = try PageComparison(pages, zeroFilled: zeroFilled, parent: inherited?.pages)
        } catch { throw CriuImageError(name, "tells of pages that cannot be read", cause: error) }
        comparison.absorb(
            ChainPolicy.absorbed(shared: comparison.shared, kept: comparison.keptCount, total: total))
        // To write a large file again for a few pages costs more than they do.
        if inherited == nil, total > ChainPolicy.small, comparison.zeros < total / 64 {
            comparison.keepZeros()
        }
        var newMap = map
        newMap.pagesID = unusedPagesID()
        let newName = newMap.pagesName
        var linked: [String: String] = [:]
        do throws(CriuImageError) {
            if let digest = comparison.digest, comparison.keptCount == total {
                try link(map.pagesName, of: self, to: newName)
                shares.digests[newName] = digest
            } else {
                let rewrite = PageRewrite(map, comparison, to: newMap.pagesID)
                shares.digests[newName] = try rewrite.copyKept(pages, in: self)
                newMap = rewrite.result
                if let inherited {
                    try linkLevels(
                        inherited.chain, comparison.shared, theirs, as: name, from: parent, &linked)
                }
            }
            try replace(name, with: newMap.bytes)
        } catch {
            unlinkat(directory.raw, newName, 0)
            for path in linked.keys { unlinkat(directory.raw, path, 0) }
            shares.digests[newName] = nil
            throw error
        }
        remove(map)
        shares.done.insert(name)
        shares.links.merge(linked) { $1 }
        shares.zero += comparison.zeros
        shares.inherited += comparison.shared.reduce(0, +)
        shares.stored -= total - comparison.keptCount
    }

    /// Removes the pages file of a dump. The kernel takes a tenth of a second to free a GiB, which nobody waits for.
    private func remove(_ map: PageMap) {
        let file = map.pageCount > ChainPolicy.small ? try? open(map.pagesName).release() : nil
        unlinkat(directory.raw, map.pagesName, 0)
        if let file { startThread { close(file) } }
    }

    /// Links the levels that are still inherited from to `parent/`, `parent/parent/` …
    private func linkLevels(
        _ chain: PageChain, _ shared: [Int], _ theirs: String, as name: String,
        from parent: borrowing ImageDirectory, _ linked: inout [String: String]
    ) throws(CriuImageError) {
        var place = ""
        for (level, count) in zip(chain.levels, shared) where count > 0 {
            place += Self.parentName + "/"
            if mkdirat(directory.raw, place, 0o700) != 0, errno != EEXIST {
                throw CriuImageError(place, "cannot be made", cause: .last("mkdirat", place))
            }
            for (from, to) in [(theirs, name), (level.map.pagesName, level.map.pagesName)] {
                try link(level.place + from, of: parent, to: place + to)
                linked[place + to] = level.place + from
            }
        }
    }

    func link(
        _ from: String, of other: borrowing ImageDirectory, to name: String
    ) throws(CriuImageError) {
        let (source, target) = (other.directory.raw, directory.raw)
        do throws(SystemError) {
            try retrying("linkat", name) { linkat(source, from, target, name, 0) }
        } catch {
            throw CriuImageError(name, "cannot be linked", cause: error)
        }
    }

    /// A number for a pages file: levels of different snapshots meet in one directory, so CRIU's own counting from 1
    /// will not do.
    private func unusedPagesID() -> UInt32 {
        while true {
            let id = UInt32.random(in: 0x10000...0x7fff_ffff)
            if faccessat(directory.raw, "pages-\(id).img", F_OK, AT_SYMLINK_NOFOLLOW) != 0 { return id }
        }
    }
}
