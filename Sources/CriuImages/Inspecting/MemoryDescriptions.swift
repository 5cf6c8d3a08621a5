public import Messages

extension ProcessMemory {
    /// What is told of the whole of the memory; `regions` adds each mapping.
    public func inspected(regions wanted: Bool) throws(CriuImageError) -> InspectedMemory {
        let regions = try inspectedRegions()
        var memory = InspectedMemory(
            totalBytes: 0, anonymousBytes: 0, fileBytes: 0, sharedBytes: 0, pages: .none,
            regions: wanted ? regions : nil)
        for (region, told) in zip(map.regions, regions) {
            let size = Int64(clamping: region.size)
            memory.totalBytes += size
            if region.kind == .anonymous { memory.anonymousBytes += size }
            if told.kind == "file" { memory.fileBytes += size }
            if isShared(region) { memory.sharedBytes += size }
            memory.pages.add(told.pages)
        }
        return memory
    }

    /// What is told of each mapping.
    public func inspectedRegions() throws(CriuImageError) -> [InspectedRegion] {
        var regions: [InspectedRegion] = []
        for region in map.regions {
            var pages = InspectedPages.none
            for run in try runs(of: region) { pages.add(run) }
            regions.append(
                InspectedRegion(
                    start: hexadecimal(region.start), end: hexadecimal(region.end),
                    permissions: region.permissions, kind: kind(of: region), name: name(of: region),
                    offset: region.file == nil ? nil : region.offset, pages: pages))
        }
        return regions
    }

    private func kind(of region: MemoryRegion) -> String {
        switch region.kind {
        case .anonymous: "anonymous"
        case .shared: "shared"
        case .privateFile, .sharedFile: isMemoryFile(region) ? "shared" : "file"
        case .vdso, .kernelData, .asynchronousRing, .unknown: "kernel"
        }
    }

    /// The strings that lie in a range of addresses, each ended by a zero byte; nil where it is no longer mapped.
    func strings(in range: Range<UInt64>) throws(CriuImageError) -> [String]? {
        guard range.upperBound - range.lowerBound <= Self.longestStrings, isMapped(range) else { return nil }
        var bytes = try read(range.lowerBound, count: Int(range.upperBound - range.lowerBound))[...]
        while bytes.last == 0 { bytes.removeLast() }
        if bytes.isEmpty { return [] }
        return bytes.split(separator: 0, omittingEmptySubsequences: false).map {
            String(decoding: $0, as: UTF8.self)
        }
    }

    /// execve(2) takes no more than a quarter of the stack's limit; this is more than any real one.
    private static let longestStrings: UInt64 = 16 << 20

    /// Whether every address of the range is mapped to something that is saved.
    public func isMapped(_ range: Range<UInt64>) -> Bool {
        var position = range.lowerBound
        while position < range.upperBound {
            guard let region = map.region(at: position), region.kind != .kernelData, region.kind != .unknown
            else { return false }
            position = region.end
        }
        return true
    }
}

extension InspectedPages {
    static let none = InspectedPages(
        storedBytes: 0, inheritedBytes: 0, zeroBytes: 0, fileBytes: 0, notSavedBytes: 0)

    fileprivate mutating func add(_ run: ProcessMemory.Run) {
        let bytes = Int64(clamping: run.range.upperBound - run.range.lowerBound)
        switch run.source {
        case .stored: storedBytes += bytes
        case .inherited: inheritedBytes += bytes
        case .zero: zeroBytes += bytes
        case .file: fileBytes += bytes
        case .notSaved: notSavedBytes += bytes
        }
    }

    fileprivate mutating func add(_ other: InspectedPages) {
        storedBytes += other.storedBytes
        inheritedBytes += other.inheritedBytes
        zeroBytes += other.zeroBytes
        fileBytes += other.fileBytes
        notSavedBytes += other.notSavedBytes
    }
}
