import Glibc
import LinuxSystem

extension LazyMemory {
    /// Makes an image directory at `view`, which must not exist, that is the one at `images` without the lazy
    /// pages.
    ///
    /// It is made of links and of a few pagemaps: what is left of these says that all pages are the parent's,
    /// and that is the directory at `images` itself, where CRIU finds them by their addresses. So nothing is
    /// copied. A page that no pagemap tells of is one that nobody has touched (criu/mem.c,
    /// `restore_priv_vma_content`).
    public func makeView(of images: String, at view: String) throws(CriuImageError) {
        do throws(SystemError) {
            try Files.makeDirectory(view)
            // The processes that CRIU restores have another root by the time they open some of them.
            let target = Self.path(from: view, to: images)
            let changed = Dictionary(uniqueKeysWithValues: processes.map { ("pagemap-\($0.pid).img", $0) })
            var own: [String] = []
            for name in try Files.names(in: images) where name != ImageDirectory.parentName {
                if changed[name] == nil {
                    try retrying("symlink", name) { symlink("\(target)/\(name)", "\(view)/\(name)") }
                } else {
                    own.append(name)
                }
            }
            try retrying("symlink", "parent") { symlink(target, "\(view)/\(ImageDirectory.parentName)") }
            for name in own { try write(name, without: changed[name]!, images, view) }
        } catch {
            throw CriuImageError(view, "cannot be made", cause: error)
        }
    }

    /// The way to one absolute path from the directory at another.
    private static func path(from directory: String, to path: String) -> String {
        let (from, to) = (directory.split(separator: "/"), path.split(separator: "/"))
        let common = zip(from, to).prefix { $0 == $1 }.count
        return String(repeating: "../", count: from.count - common)
            + to.dropFirst(common).joined(separator: "/")
    }

    private func write(
        _ name: String, without process: LazyProcess, _ images: String, _ view: String
    ) throws(SystemError) {
        let map: PageMap
        do throws(CriuImageError) {
            map = try PageMap(name, parsing: Files.contents("\(images)/\(name)"))
        } catch {
            throw error.cause ?? SystemError(call: "parse", code: EINVAL, subject: name)
        }
        // CRIU opens the file of every pagemap, also where it has nothing to give.
        let pages = "\(view)/\(map.pagesName)"
        unlink(pages)
        try Files.write(pages, [])
        try Files.write("\(view)/\(name)", map.inherited(without: process.extents).bytes)
    }
}

extension PageMap {
    /// The same pages without those of some extents, all of them the parent's.
    func inherited(without extents: [LazyProcess.Extent]) -> PageMap {
        var map = PageMap(name, pagesID: pagesID)
        var next = 0
        for run in runs {
            var position = run.start
            while next < extents.count, extents[next].end <= position { next += 1 }
            var index = next
            while position < run.end {
                let gap = index < extents.count ? min(extents[index].start, run.end) : run.end
                if gap > position {
                    map.append(
                        Run(start: position, count: Int((gap - position) / Page.size), flags: Run.inParent))
                }
                guard index < extents.count, extents[index].start < run.end else { break }
                position = max(position, extents[index].end)
                index += 1
            }
        }
        return map
    }
}

extension Files {
    fileprivate static func contents(_ path: String) throws(CriuImageError) -> [UInt8] {
        do throws(SystemError) { return try read(path) } catch {
            throw CriuImageError(path, "cannot be read", cause: error)
        }
    }
}
