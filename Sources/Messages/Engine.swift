/// What makes a snapshot, and goes back to it.
public enum Engine: String, Codable, Sendable, CaseIterable {
    /// A process image on disk.
    case criu
    /// Stopped copies of the processes, where that is exact; else CRIU. An experiment: see docs/twin.md.
    case twin
}
