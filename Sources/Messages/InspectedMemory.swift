/// The memory of a process, in bytes.
public struct InspectedMemory: Codable, Hashable, Sendable {
    /// Everything that is mapped.
    public var totalBytes: Int64
    /// Mapped without a file and not shared.
    public var anonymousBytes: Int64
    /// Mapped from files.
    public var fileBytes: Int64
    /// Mapped so that other processes see changes.
    public var sharedBytes: Int64
    /// Where its pages are.
    public var pages: InspectedPages
    /// Each mapping, by address.
    public var regions: [InspectedRegion]?

    public init(
        totalBytes: Int64, anonymousBytes: Int64, fileBytes: Int64, sharedBytes: Int64, pages: InspectedPages,
        regions: [InspectedRegion]? = nil
    ) {
        self.totalBytes = totalBytes
        self.anonymousBytes = anonymousBytes
        self.fileBytes = fileBytes
        self.sharedBytes = sharedBytes
        self.pages = pages
        self.regions = regions
    }
}

/// Where the pages of some memory are, in bytes.
public struct InspectedPages: Codable, Hashable, Sendable {
    /// In the snapshot's own images.
    public var storedBytes: Int64
    /// In those of its ancestors.
    public var inheritedBytes: Int64
    /// Zeros, stored nowhere.
    public var zeroBytes: Int64
    /// Unchanged contents of mapped files.
    public var fileBytes: Int64
    /// What the kernel provides anew.
    public var notSavedBytes: Int64

    public init(
        storedBytes: Int64, inheritedBytes: Int64, zeroBytes: Int64, fileBytes: Int64, notSavedBytes: Int64
    ) {
        self.storedBytes = storedBytes
        self.inheritedBytes = inheritedBytes
        self.zeroBytes = zeroBytes
        self.fileBytes = fileBytes
        self.notSavedBytes = notSavedBytes
    }
}

/// One mapping of a process.
public struct InspectedRegion: Codable, Hashable, Sendable {
    /// Its first address, hexadecimal, with 0x.
    public var start: String
    /// The first address after it.
    public var end: String
    /// Its permissions as /proc/PID/maps shows them.
    public var permissions: String
    /// What is mapped.
    public var kind: String
    /// The file's path, or `[heap]`, `[stack]`, `[vdso]`.
    public var name: String?
    /// Where in the file it begins.
    public var offset: UInt64?
    /// Where its pages are.
    public var pages: InspectedPages

    public init(
        start: String, end: String, permissions: String, kind: String, name: String? = nil,
        offset: UInt64? = nil, pages: InspectedPages
    ) {
        self.start = start
        self.end = end
        self.permissions = permissions
        self.kind = kind
        self.name = name
        self.offset = offset
        self.pages = pages
    }
}

/// `GET /v1/snapshots/{ref}/memory`: the mappings of one process.
public struct MemoryListing: Codable, Hashable, Sendable {
    /// The snapshot's full id.
    public var snapshot: String
    /// The process.
    public var pid: Int
    /// Its mappings, by address.
    public var regions: [InspectedRegion]

    public init(snapshot: String, pid: Int, regions: [InspectedRegion]) {
        self.snapshot = snapshot
        self.pid = pid
        self.regions = regions
    }
}

/// `GET /v1/snapshots/{ref}/memory/bytes`: a piece of a process's memory.
public struct MemoryPiece: Codable, Hashable, Sendable {
    /// Its first address, hexadecimal, with 0x.
    public var address: String
    /// The bytes, at most 4 MiB; fewer than were asked for where that is the bound.
    public var base64: String

    public init(address: String, base64: String) {
        self.address = address
        self.base64 = base64
    }
}

/// `GET /v1/snapshots/{ref}/memory/search`: where something is in a process's memory.
public struct MemoryMatches: Codable, Hashable, Sendable {
    /// By address.
    public var matches: [MemoryMatch]
    /// Whether there are more than were asked for.
    public var truncated: Bool
    /// Mappings that were left out because their file could not be read.
    public var unread: [String]

    public init(matches: [MemoryMatch], truncated: Bool, unread: [String]) {
        self.matches = matches
        self.truncated = truncated
        self.unread = unread
    }
}

/// A place in a process's memory.
public struct MemoryMatch: Codable, Hashable, Sendable {
    /// Its first address, hexadecimal, with 0x.
    public var address: String
    /// How many bytes match.
    public var length: Int
    /// The name of the mapping it lies in.
    public var name: String?
    /// Where the context begins.
    public var contextAddress: String
    /// Bytes around it.
    public var contextBase64: String

    public init(
        address: String, length: Int, name: String? = nil, contextAddress: String, contextBase64: String
    ) {
        self.address = address
        self.length = length
        self.name = name
        self.contextAddress = contextAddress
        self.contextBase64 = contextBase64
    }
}
