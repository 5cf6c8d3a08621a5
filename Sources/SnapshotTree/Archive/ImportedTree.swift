import Digests
import Glibc
import LinuxSystem
import LocalArchive

/// Makes one tree of an archive in the staging area, and nothing that its digest list does not have.
///
/// Every step goes from the descriptor of a directory to a name in it and follows no link, nothing is made twice and
/// nothing is replaced. What was made is read again at the end and compared with the list, to the last bit.
final class ImportedTree {
    /// Where an earlier file lies that an entry is a hard link to, and its digest where the store knows it.
    struct LinkSource {
        let root: String
        let parts: [[UInt8]]
        let digest: Digest?
    }

    let tree: ArchiveTree
    private let path: String
    private let list: DigestList
    private let root: Descriptor
    private let done: WorkCount
    private let attributes = ExtendedAttributes()
    private var made: Set<String> = []
    /// Digests of files that are links into the store, which have not to be read again.
    private var known: [String: Digest] = [:]
    /// The directory of the last entry: the next one is mostly in it too.
    private var nearest: (parts: [[UInt8]], directory: Int32)?
    /// What directories get when everything in them has been made, which would change their times.
    private var pending: [(parts: [[UInt8]], entry: ArchivedFile)] = []

    /// Begins the tree in a directory that is made below `staging`. Bytes of regular files are added to `done`.
    init(
        _ tree: ArchiveTree, _ list: DigestList, below staging: String, counting done: WorkCount
    ) throws(SnapshotTreeError) {
        self.done = done
        self.tree = tree
        self.list = list
        path = "\(staging)/\(tree.path)"
        let path = path
        root = try wrapping { () throws(SystemError) in
            try retrying("mkdir", path) { mkdir(path, 0o700) }
            return try Descriptor.directory(path)
        }
    }

    deinit { if let nearest { close(nearest.directory) } }

    /// Makes the file of an entry. `source` is where a hard link leads, `twin` a file of the store that is known to be
    /// the same; both spare its data.
    func take(
        _ entry: ArchivedFile, _ parts: [[UInt8]], source: LinkSource?,
        twin: (Digest, Int64) -> LinkSource?, from reader: ArchiveReader
    ) throws(SnapshotTreeError) {
        let place = Self.escaped(parts)
        guard let expected = list.entries[place] else {
            throw .badArchive("\(shown(place)) is not in its list")
        }
        guard made.insert(place).inserted else { throw .badArchive("\(shown(place)) is there twice") }
        if parts.isEmpty {
            pending.append((parts, entry))
            return
        }
        let name = Self.cString(parts[parts.count - 1])
        let parent = try directory(parts.dropLast(), place)
        if let source {
            known[place] = source.digest
            if mode_t(expected.type) == S_IFREG { done.add(expected.size) }
            return try link(source, to: name, in: parent, place)
        }
        try checkType(entry, expected, place)
        switch mode_t(expected.type) {
        case S_IFDIR:
            try making(place) { () throws(SystemError) in
                try retrying("mkdirat") { mkdirat(parent, name, 0o700) }
            }
            pending.append((parts, entry))
        case S_IFREG:
            if let digest = expected.content, let twin = twin(digest, expected.size) {
                known[place] = digest
                done.add(expected.size)
                return try link(twin, to: name, in: parent, place)
            }
            try makeRegular(entry, expected, name, in: parent, place, from: reader)
        case S_IFLNK:
            guard let target = entry.target else { throw .badArchive("\(shown(place)) is a link to nothing") }
            try making(place) { () throws(SystemError) in
                try retrying("symlinkat") { symlinkat(Self.cString(target), parent, name) }
                try finish(name, in: parent, entry, expected)
            }
        default:
            try making(place) { () throws(SystemError) in
                try retrying("mknodat") {
                    mknodat(
                        parent, name, mode_t(expected.type) | 0o600, dev_t(truncatingIfNeeded: expected.size))
                }
                try finish(name, in: parent, entry, expected)
            }
        }
    }

    /// Completes the directories, reads everything again and compares it with the list.
    ///
    /// `contents` are the digests of files with several names that were read before; the answer adds to them.
    func finish(
        _ contents: [DigestWalk.Inode: Digest]
    ) throws(SnapshotTreeError) -> [DigestWalk.Inode: Digest] {
        if let missing = list.entries.keys.first(where: { !made.contains($0) }) {
            throw .badArchive("\(shown(missing)) is missing")
        }
        for (parts, entry) in pending.reversed() {
            let directory = try directory(parts[...], Self.escaped(parts))
            try making(Self.escaped(parts)) { () throws(SystemError) in try apply(entry, to: directory) }
        }
        let known = known
        let walk = try wrapping { () throws(SystemError) in
            try DigestWalk.read(root, keepsTimes: tree.keepsTimes, contents: contents) { place, _ in
                known[place]
            }
        }
        if let (place, error) = walk.unreadable.first {
            throw .badArchive("\(shown(place)) cannot be read back: \(error.reason)")
        }
        if let (place, problem) = list.differences(from: walk.list).first {
            throw .badArchive("\(shown(place)) \(problem)")
        }
        return walk.contents
    }

    // MARK: - Files

    private func checkType(
        _ entry: ArchivedFile, _ expected: DigestList.Entry, _ place: String
    ) throws(SnapshotTreeError) {
        // Tar has no sockets: an empty file stands for one.
        let stands = expected.type == UInt32(S_IFSOCK) ? UInt32(S_IFREG) : expected.type
        guard entry.type == stands else {
            throw .badArchive("\(shown(place)) is of another type than its list says")
        }
        if expected.type == UInt32(S_IFSOCK) {
            guard entry.size == 0 else { throw .badArchive("\(shown(place)), a socket, has data") }
            return
        }
        if expected.type == UInt32(S_IFREG), entry.size != expected.size {
            throw .badArchive("\(shown(place)) has \(entry.size) bytes and its list says \(expected.size)")
        }
        if [UInt32(S_IFCHR), UInt32(S_IFBLK)].contains(expected.type),
            entry.device != UInt64(bitPattern: expected.size)
        {
            throw .badArchive("\(shown(place)) is another device than its list says")
        }
    }

    private func makeRegular(
        _ entry: ArchivedFile, _ expected: DigestList.Entry, _ name: [CChar], in parent: Int32,
        _ place: String,
        from reader: ArchiveReader
    ) throws(SnapshotTreeError) {
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        let file = try wrapping { () throws(SystemError) in
            Descriptor(
                owning: try retrying("openat", printable(name)) { openat(parent, name, flags, 0o600) })
        }
        let (number, size) = (file.raw, expected.size)
        var written: Int64 = 0
        try reader.readData({ (offset, bytes) throws(SnapshotTreeError) in
            guard offset >= 0, offset <= size, Int64(bytes.count) <= size - offset else {
                throw .badArchive("\(shown(place)) has more data than its list says")
            }
            try wrapping { () throws(SystemError) in try Self.write(bytes, at: offset, to: number) }
            done.add(Int64(bytes.count))
            written += Int64(bytes.count)
        }) { .badArchive($0.description) }
        try wrapping { () throws(SystemError) in
            // A hole at the end has no data.
            try retrying("ftruncate") { ftruncate(number, off_t(size)) }
            try apply(entry, to: number)
        }
        done.add(max(size - written, 0))
    }

    private static func write(
        _ bytes: UnsafeRawBufferPointer, at offset: Int64, to file: Int32
    ) throws(SystemError) {
        var sent = 0
        while sent < bytes.count {
            let from = sent
            sent += try retrying("pwrite") {
                pwrite(file, bytes.baseAddress! + from, bytes.count - from, off_t(offset) + off_t(from))
            }
        }
    }

    private func link(
        _ source: LinkSource, to name: [CChar], in parent: Int32, _ place: String
    ) throws(SnapshotTreeError) {
        do throws(SystemError) {
            let top = try Descriptor.directory(source.root)
            let from = try Self.descend(top, source.parts.dropLast())
            let last = Self.cString(source.parts[source.parts.count - 1])
            try retrying("linkat") { linkat(from.raw, last, parent, name, 0) }
        } catch {
            if error.isNoRoom { throw .noSpace(error) }
            throw .badArchive("\(shown(place)) is a link to what is not there: \(error.reason)")
        }
    }

    // MARK: - Directories

    /// The directory of these parts; it stays open until the next call.
    private func directory(_ parts: ArraySlice<[UInt8]>, _ place: String) throws(SnapshotTreeError) -> Int32 {
        if let nearest, nearest.parts[...] == parts { return nearest.directory }
        do throws(SystemError) {
            let found = try Self.descend(root, parts).release()
            if let nearest { close(nearest.directory) }
            nearest = (Array(parts), found)
            return found
        } catch {
            throw .badArchive("\(shown(place)) lies in no directory of it: \(error.reason)")
        }
    }

    private static func descend(
        _ top: borrowing Descriptor, _ parts: ArraySlice<[UInt8]>
    ) throws(SystemError) -> Descriptor {
        var directory = try top.reopenedDirectory()
        for part in parts {
            let (above, name) = (directory.raw, cString(part))
            directory = Descriptor(
                owning: try retrying("openat", printable(name)) {
                    openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                })
        }
        return directory
    }

    // MARK: - Owners, modes, attributes, times

    /// For what is open. The owner comes first, whose change drops bits of the mode; the times come last.
    private func apply(_ entry: ArchivedFile, to file: Int32) throws(SystemError) {
        try retrying("fchown") { fchown(file, entry.owner, entry.group) }
        try retrying("fchmod") { fchmod(file, mode_t(entry.mode & 0o7777)) }
        try attributes.set(entry.attributes, on: .descriptor(file))
        let times = Self.times(entry)
        try retrying("futimens") { futimens(file, times) }
    }

    /// For what cannot be opened.
    private func finish(
        _ name: [CChar], in parent: Int32, _ entry: ArchivedFile, _ expected: DigestList.Entry
    ) throws(SystemError) {
        try retrying("fchownat") { fchownat(parent, name, entry.owner, entry.group, AT_SYMLINK_NOFOLLOW) }
        if expected.type != UInt32(S_IFLNK) {
            try retrying("fchmodat") { fchmodat(parent, name, mode_t(entry.mode & 0o7777), 0) }
        }
        try name.withUnsafeBufferPointer { (name) throws(SystemError) in
            try attributes.set(entry.attributes, on: .entry(name.baseAddress!, in: parent))
        }
        let times = Self.times(entry)
        try retrying("utimensat") { utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) }
    }

    private static func times(_ entry: ArchivedFile) -> [timespec] {
        let modified = entry.modified
        let accessed = entry.accessed ?? modified
        return [accessed, modified].map { timespec(tv_sec: $0.seconds, tv_nsec: $0.nanoseconds) }
    }

    // MARK: - Names

    /// Turns an error about a file into one that a full disk does not hide.
    private func making(_ place: String, _ body: () throws(SystemError) -> Void) throws(SnapshotTreeError) {
        do { try body() } catch {
            // A name that is too long, attributes that no filesystem takes: the archive's fault, not the store's.
            switch error.code {
            case ENAMETOOLONG, EINVAL, EEXIST, EOVERFLOW, E2BIG, ERANGE:
                throw .badArchive("\(shown(place)) cannot be made: \(error.reason)")
            default: throw SnapshotTreeError(error)
            }
        }
    }

    private func shown(_ place: String) -> String { place == "." ? tree.path : "\(tree.path)/\(place)" }

    private static func cString(_ name: [UInt8]) -> [CChar] { name.map { CChar(bitPattern: $0) } + [0] }

    /// A path as it stands in a digest list.
    static func escaped(_ parts: [[UInt8]]) -> String {
        if parts.isEmpty { return "." }
        return cString(Array(parts.joined(separator: [UInt8(ascii: "/")]))).withUnsafeBufferPointer {
            DigestList.escaped($0.baseAddress!)
        }
    }
}
