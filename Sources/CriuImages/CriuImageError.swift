public import LinuxSystem

/// An image file that could not be read, understood or written.
public struct CriuImageError: Error, Equatable, Sendable {
    /// The file's name inside the image directory, for example `pstree.img`.
    public let file: String
    /// Which entry of the file, counted from 0; nil when it is about the file as a whole.
    public let entry: Int?
    /// What is wrong, in words, for example `ends inside an entry of 312 bytes`.
    public let problem: String
    /// The system call that failed, where one did.
    public let cause: SystemError?

    init(_ file: String, entry: Int? = nil, _ problem: String, cause: SystemError? = nil) {
        self.file = file
        self.entry = entry
        self.problem = problem
        self.cause = cause
    }
}

extension CriuImageError: CustomStringConvertible {
    public var description: String {
        let place = entry.map { " entry \($0)" } ?? ""
        let because = cause.map { ": \($0)" } ?? ""
        return "process image \(file)\(place): \(problem)\(because)"
    }
}
