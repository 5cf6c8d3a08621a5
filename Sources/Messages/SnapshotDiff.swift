/// `GET /v1/diff`: what is different in one snapshot from another.
public struct SnapshotDiff: Codable, Hashable, Sendable {
    /// The full id of the snapshot that is compared with.
    public var from: String
    /// The full id of the other.
    public var to: String
    /// Files, by path.
    public var files: [FileChange]
    /// Processes, by pid.
    public var processes: [ProcessChange]
    /// Descriptors of processes that are in both, by pid and number.
    public var descriptors: [DescriptorChange]
    /// Mappings of processes that are in both, by pid and address.
    public var memory: [MemoryChange]

    public init(
        from: String, to: String, files: [FileChange], processes: [ProcessChange],
        descriptors: [DescriptorChange], memory: [MemoryChange]
    ) {
        self.from = from
        self.to = to
        self.files = files
        self.processes = processes
        self.descriptors = descriptors
        self.memory = memory
    }
}

/// A file that is not the same in both snapshots.
public struct FileChange: Codable, Hashable, Sendable {
    /// Its path in the sandbox; bytes that are no UTF-8 are replaced.
    public var path: String
    /// What happened to it: `metadata` when its contents are the same.
    public var change: String
    /// What it was; missing where it was not there.
    public var before: FileState?
    /// What it is; missing where it is gone.
    public var after: FileState?
    /// The difference of a text file, as diff -u shows it, where that was asked for.
    public var patch: String?

    public init(
        path: String, change: String, before: FileState? = nil, after: FileState? = nil, patch: String? = nil
    ) {
        self.path = path
        self.change = change
        self.before = before
        self.after = after
        self.patch = patch
    }
}

/// What a file is.
public struct FileState: Codable, Hashable, Sendable {
    /// Its type.
    public var type: String
    /// Its permission bits.
    public var mode: Int
    /// Its owner.
    public var uid: Int
    /// Its group.
    public var gid: Int
    /// Its size in bytes.
    public var size: Int64
    /// Where a symbolic link leads.
    public var target: String?

    public init(type: String, mode: Int, uid: Int, gid: Int, size: Int64, target: String? = nil) {
        self.type = type
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.target = target
    }
}

/// A process that is not the same in both snapshots. A process is the same where it has the same pid, and its
/// parent or its address space is the same.
public struct ProcessChange: Codable, Hashable, Sendable {
    /// What happened to it.
    public var change: String
    /// Its process id.
    public var pid: Int
    /// Its command line, or its command name where it has none.
    public var command: String
    /// What changed, in words.
    public var details: [String]

    public init(change: String, pid: Int, command: String, details: [String]) {
        self.change = change
        self.pid = pid
        self.command = command
        self.details = details
    }
}

/// A descriptor that is not the same in both snapshots.
public struct DescriptorChange: Codable, Hashable, Sendable {
    /// What happened to it.
    public var change: String
    /// The process.
    public var pid: Int
    /// Its number.
    public var fd: Int
    /// What it was.
    public var before: InspectedFile?
    /// What it is.
    public var after: InspectedFile?

    public init(change: String, pid: Int, fd: Int, before: InspectedFile? = nil, after: InspectedFile? = nil)
    {
        self.change = change
        self.pid = pid
        self.fd = fd
        self.before = before
        self.after = after
    }
}

/// A mapping that is not the same in both snapshots.
public struct MemoryChange: Codable, Hashable, Sendable {
    /// What happened to it.
    public var change: String
    /// The process.
    public var pid: Int
    /// Its first address, hexadecimal, with 0x.
    public var start: String
    /// The first address after it.
    public var end: String
    /// Its permissions as /proc/PID/maps shows them.
    public var permissions: String
    /// The file's path, or `[heap]`, `[stack]`.
    public var name: String?
    /// How many pages it has, 4,096 bytes each.
    public var pages: Int64
    /// How many of them differ, or came or went with it.
    public var changedPages: Int64

    public init(
        change: String, pid: Int, start: String, end: String, permissions: String, name: String? = nil,
        pages: Int64, changedPages: Int64
    ) {
        self.change = change
        self.pid = pid
        self.start = start
        self.end = end
        self.permissions = permissions
        self.name = name
        self.pages = pages
        self.changedPages = changedPages
    }
}
