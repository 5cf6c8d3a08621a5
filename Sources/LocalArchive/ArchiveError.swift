import CArchive

/// Why a tar stream could not be made of local files, or local files not of a tar stream.
public struct ArchiveError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What happened and why, one clause.
    public let description: String

    /// An error of our own.
    public init(_ description: String) { self.description = description }

    /// What libarchive says about its last call.
    init(_ doing: String, _ archive: OpaquePointer) {
        let reason = archive_error_string(archive).map { String(cString: $0) } ?? "unknown reason"
        description = "\(doing): \(reason)"
    }
}
