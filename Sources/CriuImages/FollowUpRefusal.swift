/// Why a dump cannot be made out of the one before it: something changed that only CRIU can write down.
public struct FollowUpRefusal: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }

    /// What was found out where images were made.
    public init(_ error: CriuImageError) { description = error.description }

    /// Of one process, by its pid in the sandbox.
    init(_ pid: Int32, _ what: String) { description = "process \(pid) \(what)" }
}
