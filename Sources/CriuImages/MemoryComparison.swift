import Glibc

extension ProcessMemory {
    /// How many pages of a range are not the same in another process's memory; both must have all of it mapped.
    ///
    /// Pages that both have from the same place of the same file are not read: what snapshots share costs nothing.
    public func differingPages(from other: ProcessMemory, in range: Range<UInt64>) throws(CriuImageError)
        -> Int
    {
        var (differing, position) = (0, range.lowerBound)
        while position < range.upperBound {
            guard let region = map.region(at: position), let otherRegion = other.map.region(at: position)
            else {
                throw CriuImageError("mm-\(pid).img", "has nothing mapped at \(hexadecimal(position))")
            }
            let mine = try locate(position, in: region)
            let theirs = try other.locate(position, in: otherRegion)
            let end = min(mine.end, theirs.end, range.upperBound)
            if !isSame(mine.origin, theirs.origin, other) {
                differing += try countDifferences(other, mine.origin, theirs.origin, position..<end)
            }
            position = end
        }
        return differing
    }

    private func canRead(_ origin: Origin) -> Bool {
        guard case .path(let path, _, let size) = origin else { return true }
        guard let now = files.identity(of: path)?.size else { return false }
        return size == nil || size == now
    }

    private func isSame(_ mine: Origin, _ theirs: Origin, _ other: ProcessMemory) -> Bool {
        switch (mine, theirs) {
        case (.zero, .zero), (.notSaved, _), (_, .notSaved): true
        case (.pages(let one, let level, let offset), .pages(let two, let otherLevel, let otherOffset)):
            one.file(level: level) == two.file(level: otherLevel) && offset == otherOffset
        case (.path(let path, let offset, _), .path(let otherPath, let otherOffset, _)):
            path == otherPath && offset == otherOffset
                && files.identity(of: path) == other.files.identity(of: path)
        default: false
        }
    }

    /// Pages of a file that is not there any more are told as different from whatever is not the same place of it.
    private func countDifferences(
        _ other: ProcessMemory, _ mine: Origin, _ theirs: Origin, _ range: Range<UInt64>
    ) throws(CriuImageError) -> Int {
        guard canRead(mine), other.canRead(theirs) else {
            return Int((range.upperBound - range.lowerBound) / Page.size)
        }
        var (differing, position) = (0, range.lowerBound)
        while position < range.upperBound {
            let count = Int(min(range.upperBound - position, 1 << 20))
            let done = position - range.lowerBound
            let one = try contents(mine.advanced(by: done), count, at: position)
            let two = try other.contents(theirs.advanced(by: done), count, at: position)
            one.withUnsafeBytes { one in
                two.withUnsafeBytes { two in
                    for page in stride(from: 0, to: count, by: Int(Page.size)) {
                        let size = min(Int(Page.size), count - page)
                        if memcmp(one.baseAddress! + page, two.baseAddress! + page, size) != 0 {
                            differing += 1
                        }
                    }
                }
            }
            position += UInt64(count)
        }
        return differing
    }
}
