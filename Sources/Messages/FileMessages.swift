/// What a file is.
public enum FileKind: String, Codable, Sendable, CaseIterable {
    case file, directory, symlink, fifo, socket
    case characterDevice = "character-device"
    case blockDevice = "block-device"
}

/// One file of a sandbox.
public struct FileInfo: Codable, Sendable {
    /// The last part of its path; nil when it is no UTF-8.
    public var name: String?
    /// The same in base64, only when it is no UTF-8.
    public var nameBase64: String?
    public var kind: FileKind
    /// The permission bits, set-uid, set-gid and sticky included.
    public var mode: UInt32
    public var uid: UInt32
    public var gid: UInt32
    /// In bytes.
    public var size: Int64
    public var links: UInt64
    /// Seconds since 1970.
    public var modified: Double
    /// Where a symbolic link leads; nil when that is no UTF-8.
    public var target: String?

    public init(
        name: String?, nameBase64: String? = nil, kind: FileKind, mode: UInt32, uid: UInt32, gid: UInt32,
        size: Int64, links: UInt64, modified: Double, target: String? = nil
    ) {
        self.name = name
        self.nameBase64 = nameBase64
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.links = links
        self.modified = modified
        self.target = target
    }
}

/// `GET /v1/sandboxes/{name}/directory`: what a directory holds, by name.
public struct DirectoryListing: Codable, Sendable {
    public var entries: [FileInfo]
    /// Whether there is more than the 100,000 entries that are listed at most.
    public var truncated: Bool
    public init(entries: [FileInfo], truncated: Bool) {
        self.entries = entries
        self.truncated = truncated
    }
}

/// What comes after the body of `GET /v1/sandboxes/{name}/archive`.
public enum ArchiveTrailer {
    /// The trailer field with an `ErrorMessage` as JSON, where the archive is not whole.
    public static let error = "Ckpt-Error"
}

/// The answer of `PUT /v1/sandboxes/{name}/archive`.
public struct ArchiveResult: Codable, Sendable {
    /// The entries that were not made, by name: device nodes.
    public var leftOut: [String]
    public init(leftOut: [String]) { self.leftOut = leftOut }
}

/// How a file is written.
public struct WriteOptions: Sendable {
    /// The permission bits; those it has, or 0644 for a new file, when nil.
    public var mode: UInt32?
    /// Its owner, as in `ExecRequest.user`; the one it has, or root for a new file, when nil.
    public var user: String?
    /// Whether to write a new file that takes the place of the old one in one step.
    public var isAtomic = false
    /// Whether to make the directories that are missing on the way, with mode 0755.
    public var makesParents = false
    /// Whether to write after what is there.
    public var appends = false
    public init() {}
}

/// A file that is being written. Dropping it before `finish` leaves a file that is replaced in one step as it was.
public protocol FileWriting: AnyObject {
    func write(_ bytes: UnsafeRawBufferPointer) throws(ErrorMessage)
    func finish() throws(ErrorMessage) -> FileInfo
}

/// What the API can ask of the engine about files. Paths are absolute and resolved inside the sandbox: no symbolic
/// link and no `..` leads out of it.
public protocol FileOperations: Sendable {
    /// Opens a regular file for reading; the descriptor is the caller's, and stands at `offset`.
    func openFile(_ name: String, path: String, offset: UInt64) throws(ErrorMessage) -> Int32
    /// Begins to write a file.
    func writeFile(_ name: String, path: String, _ options: WriteOptions) throws(ErrorMessage)
        -> any FileWriting
    /// What is at a path; a last symbolic link is followed where `follow` says so.
    func fileInfo(_ name: String, path: String, follow: Bool) throws(ErrorMessage) -> FileInfo
    func directory(_ name: String, path: String) throws(ErrorMessage) -> DirectoryListing
}
