import Glibc

/// A file as a tar stream describes it, its data apart. Names are bytes: Linux takes any.
public struct ArchivedFile: Equatable, Sendable {
    /// A time as the kernel keeps it.
    public struct Time: Equatable, Sendable {
        /// Seconds since 1970.
        public var seconds: Int
        /// 0 to 999,999,999.
        public var nanoseconds: Int

        /// The time of that second and nanosecond.
        public init(seconds: Int, nanoseconds: Int) {
            self.seconds = seconds
            self.nanoseconds = nanoseconds
        }
    }

    /// An extended attribute (xattr(7)).
    public struct Attribute: Equatable, Sendable {
        /// Its full name, for example `user.note`.
        public var name: [UInt8]
        /// Its value, up to 64 KiB.
        public var value: [UInt8]

        /// An attribute of that name and value.
        public init(name: [UInt8], value: [UInt8]) {
            self.name = name
            self.value = value
        }
    }

    /// Its path in the stream.
    public var name: [UInt8]
    /// Type and permissions, as st_mode (inode(7)); tar has no sockets.
    public var mode: UInt32
    public var owner: UInt32 = 0
    public var group: UInt32 = 0
    /// Bytes of data; 0 for all but regular files.
    public var size: Int64 = 0
    /// Which device a device node stands for, as st_rdev.
    public var device: UInt64 = 0
    /// When its content changed last.
    public var modified = Time(seconds: 0, nanoseconds: 0)
    /// When it was read last; nil where the stream does not say.
    public var accessed: Time?
    /// Where a symbolic link leads.
    public var target: [UInt8]?
    /// The path of an earlier entry that is the same file; such an entry has no data.
    public var hardLink: [UInt8]?
    public var attributes: [Attribute] = []

    /// A file of that name, type and permissions.
    public init(name: [UInt8], mode: UInt32) {
        self.name = name
        self.mode = mode
    }

    /// The type alone, as in st_mode.
    public var type: UInt32 { mode & UInt32(S_IFMT as mode_t) }
}

extension ArchivedFile {
    /// The parts of a name between the slashes, without `.`; throws when it is absolute or climbs with `..`.
    public static func parts(of name: [UInt8]) throws(ArchiveError) -> [[UInt8]] {
        try EntryName(name).parts
    }
}
