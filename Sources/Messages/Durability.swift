/// What survives a power cut, and when; a crash of the server loses nothing of it at any level.
///
/// At every level a snapshot that a power cut met is there whole or not at all.
public enum Durability: String, Codable, Sendable, CaseIterable, Comparable {
    /// Nothing is flushed: after a power cut the snapshots that the kernel had not written out by itself are gone.
    case none
    /// A snapshot is flushed moments after its save has returned.
    case deferred
    /// A snapshot is flushed before its save returns.
    case snapshot
    /// The same, and every other change too: tags, deletions, the records of sandboxes.
    case always

    /// What a server takes where nobody chose.
    public static let standard = Durability.deferred

    /// A level is less than those that promise more.
    public static func < (left: Durability, right: Durability) -> Bool { left.rank < right.rank }

    private var rank: Int { Self.allCases.firstIndex(of: self)! }
}
