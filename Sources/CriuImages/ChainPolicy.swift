/// When pages are stored again although an ancestor has them, so that chains of parents stay short.
///
/// Each save of a process adds a level to its chain, which CRIU opens at every restore. A level from which little
/// is still inherited is left out, and those few pages are stored with the new ones: the dump at hand has
/// them all, so nothing old is read for that. What changes again and again, the usual case, so never makes a
/// chain longer than a few levels; where each save changes other pages it grows to the limit.
struct ChainPolicy {
    /// Processes up to this size have short chains: storing them anew is cheap. 16 MiB in pages.
    static let small = 4096
    /// Levels of a chain, the newest included, for small ones and for all others.
    static let limits = (small: 8, large: 128)

    /// The levels to absorb, given how many pages each one has to give, how many are new, and all there are.
    ///
    /// The extra cost of one save is an eighth of what it stores anyway, or a 512th of the whole, or 16 pages; only
    /// a chain that is as long as it may be makes it more.
    static func absorbed(shared: [Int], kept: Int, total: Int) -> Set<UInt16> {
        var budget = max(kept / 8, total / 512, 16)
        let cheapestFirst = shared.indices.filter { shared[$0] > 0 }.sorted { shared[$0] < shared[$1] }
        var left = cheapestFirst.count
        let limit = total <= small ? limits.small : limits.large
        var absorbed: Set<UInt16> = []
        for level in cheapestFirst {
            guard shared[level] <= budget || left + 1 > limit else { break }
            budget -= shared[level]
            left -= 1
            absorbed.insert(UInt16(level))
        }
        return absorbed
    }
}
