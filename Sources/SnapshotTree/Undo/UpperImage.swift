import Glibc
public import LinuxSystem
import LocalArchive

/// One overlay of a sandbox that it writes to.
public struct UpperPart: Sendable {
    /// Its name among the sandbox's overlays.
    public let key: String
    /// Where it lies in the sandbox, without a leading slash; empty for the root.
    public let path: String
    /// The overlay's upper directory.
    public let upper: String
    /// Its lower directories, topmost first.
    public let lowers: [String]

    /// An overlay by its directories.
    public init(key: String, path: String, upper: String, lowers: [String]) {
        (self.key, self.path, self.upper, self.lowers) = (key, path, upper, lowers)
    }
}

/// Why an upper directory was not kept in memory, or not put back.
public enum UpperImageError: Error, Sendable {
    /// It holds more than memory should be spent on; the sentence says of what.
    case tooLarge(String)
    /// A system call failed.
    case system(SystemError)

    /// One sentence without a full stop.
    public var description: String {
        switch self {
        case .tooLarge(let what): what
        case .system(let error): error.description
        }
    }
}

/// What the upper directories of a sandbox held at one instant, in memory: the files of a twin.
///
/// A layer on disk costs some 50 µs a file and a publication; this costs a few, lives as long as the twin does, and
/// shares what did not change with the image before it.
public final class UpperImage: Sendable {
    /// Entries and bytes of content that are kept at most.
    static let mostEntries = 20_000
    static let mostBytes: Int64 = 64 << 20

    /// The root of each part, by key.
    let roots: [String: UpperEntry]
    /// When the capture began, in nanoseconds since 1970, and how often the clock had been set.
    let instant: Int64
    let clockSteps: Int
    /// Files, directories and all else.
    public let entries: Int

    init(roots: [String: UpperEntry], instant: Int64, clockSteps: Int, entries: Int) {
        (self.roots, self.instant) = (roots, instant)
        (self.clockSteps, self.entries) = (clockSteps, entries)
    }

    /// Reads the upper directories, at least one, which are in one filesystem; no process may write to them meanwhile.
    ///
    /// What provably has not changed since `previous` is taken from there.
    public static func capture(
        _ parts: [UpperPart], previous: UpperImage? = nil
    ) throws(UpperImageError) -> UpperImage {
        var reader: UpperReader
        do throws(SystemError) {
            reader = UpperReader(of: try Descriptor.directory(parts[0].upper), previous: previous)
        } catch { throw .system(error) }
        var roots: [String: UpperEntry] = [:]
        for part in parts {
            do throws(SystemError) {
                let root = try Descriptor.directory(part.upper)
                roots[part.key] = try reader.readRoot(root, before: previous?.roots[part.key])
            } catch {
                throw reader.excess.map { .tooLarge($0) } ?? .system(error)
            }
        }
        return UpperImage(
            roots: roots, instant: reader.instant, clockSteps: reader.clockSteps, entries: reader.entries)
    }

    /// Whether an entry's ctime, where it is the same now, proves that nothing changed since this capture: the kernel's
    /// clock ticks coarsely, so one that changed just before could have changed again under the same time.
    func isSettled(_ entry: UpperEntry) -> Bool {
        CaptureIndex.isSettled(entry.changed, at: instant) && clockSteps == WallClockSteps.shared.count()
    }
}

/// One file, directory or whiteout of an upper directory.
struct UpperEntry: Sendable {
    let inode: ino_t
    let mode: mode_t
    let owner: uid_t
    let group: gid_t
    let device: dev_t
    let links: nlink_t
    let accessed: timespec
    let modified: timespec
    /// In nanoseconds since 1970.
    let changed: Int64
    let attributes: [ArchivedFile.Attribute]
    /// A regular file's bytes, or where a symbolic link leads.
    let content: FileContent
    /// What a directory holds, by name.
    let children: [[UInt8]: UpperEntry]
    /// Whether it lies in a lower directory, from which a regular file's bytes are still to be read.
    let liesBelow: Bool

    init(
        _ status: stat, attributes: [ArchivedFile.Attribute] = [], content: FileContent = .empty,
        children: [[UInt8]: UpperEntry] = [:], liesBelow: Bool = false
    ) {
        self.liesBelow = liesBelow
        (inode, mode, owner, group) = (status.st_ino, status.st_mode, status.st_uid, status.st_gid)
        (device, links) = (status.st_rdev, status.st_nlink)
        (accessed, modified) = (status.st_atim, status.st_mtim)
        changed = Int64(status.st_ctim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_ctim.tv_nsec)
        (self.attributes, self.content, self.children) = (attributes, content, children)
    }

    var kind: mode_t { mode & S_IFMT }
    var isDirectory: Bool { kind == S_IFDIR }
    var isRegular: Bool { kind == S_IFREG }
    /// A character device 0:0 hides what lies below (Documentation/filesystems/overlayfs.rst).
    var isWhiteout: Bool { kind == S_IFCHR && device == 0 }
    /// A directory that hides all of the lower one of its name.
    var isOpaque: Bool { attributes.contains { $0.name == Self.opaque && $0.value == [UInt8(ascii: "y")] } }
    private static let opaque = Array("trusted.overlay.opaque".utf8)
    private static let overlays = Array("trusted.overlay.".utf8)
    /// The attributes that the sandbox sees.
    var visibleAttributes: [ArchivedFile.Attribute] {
        attributes.filter { !$0.name.starts(with: Self.overlays) }
    }

    /// Whether an entry with this status is the same inode, of which nothing changed.
    ///
    /// The server writes to files too, and no time tells how far it had come when one was read.
    func isSame(_ status: stat) -> Bool {
        isInode(status) && changed == UpperEntry(status).changed
            && (!isRegular || liesBelow || content.size == Int(status.st_size))
    }

    /// Whether a status is that of the same inode.
    func isInode(_ status: stat) -> Bool {
        inode == status.st_ino && kind == status.st_mode & S_IFMT && device == status.st_rdev
    }
}
