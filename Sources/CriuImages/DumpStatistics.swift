import CCriuImages

/// What a dump cost, from `stats-dump`.
public struct DumpStatistics: Equatable, Sendable {
    /// Milliseconds from the first process stopped to the last one.
    public let freezing: Double
    /// Milliseconds that the tree stood still, freezing and the post-dump notification included.
    public let frozen: Double
    /// Milliseconds spent on collecting memory, and of these on writing it.
    public let memoryDump: Double
    public let memoryWrite: Double
    /// Pages of private memory that were looked at, and that went into the images.
    public let pagesScanned: UInt64
    public let pagesWritten: UInt64
    /// Pages of shared memory that went into the images.
    public let sharedPagesWritten: UInt64
}

extension ImageDirectory {
    /// Reads `stats-dump`, which a successful dump leaves in its work directory; nil where that was another one.
    public func dumpStatistics() throws(CriuImageError) -> DumpStatistics? {
        guard let file = try fileIfPresent("stats-dump", .statistics) else { return nil }
        _ = try file.onlyEntry()
        return try file.decode(0, stats_entry__unpack, stats_entry__free_unpacked) {
            entry throws(CriuImageError) in
            guard let dump = entry.pointee.dump?.pointee else {
                throw CriuImageError(file.name, entry: 0, "has no statistics of a dump")
            }
            func milliseconds(_ microseconds: UInt32) -> Double { Double(microseconds) / 1000 }
            return DumpStatistics(
                freezing: milliseconds(dump.freezing_time), frozen: milliseconds(dump.frozen_time),
                memoryDump: milliseconds(dump.memdump_time), memoryWrite: milliseconds(dump.memwrite_time),
                pagesScanned: dump.pages_scanned, pagesWritten: dump.pages_written,
                sharedPagesWritten: dump.shpages_written)
        }
    }
}
