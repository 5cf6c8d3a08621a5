import CArchive
import CLinux
import Glibc

/// Makes files of a tar stream's entries below one directory.
///
/// Every step goes from the descriptor of a directory to a name in it and follows no link, so that whoever changes
/// the tree at the same time leads it nowhere else.
final class Unpacker {
    private let top: EntryName
    private let directory: OpenFile
    private let prefix: [[UInt8]]
    private let keepsDestination: Bool
    private let keepsOwners: Bool
    private let source: Source
    private var leftOut: [String] = []
    /// The directory of the last entry: the next one is mostly in it too.
    private var nearest: (parts: [[UInt8]], file: OpenFile)?
    /// What directories get when everything in them has been written, which would change their times, or be in the
    /// way of it.
    private var pending: [(parts: [[UInt8]], attributes: Attributes)] = []

    /// What an entry says of a file besides its content.
    private struct Attributes {
        var mode: mode_t
        var owner: (uid: uid_t, gid: gid_t)?
        var times: [timespec]?
        var extended: [(name: String, value: [UInt8])]
    }

    /// Entries named `top` or below it go into `directory`, where `top` is called `name`, or is that directory.
    init(top: EntryName, directory: OpenFile, name: [UInt8]?, keepsOwners: Bool, source: Source) {
        self.top = top
        self.directory = directory
        prefix = name.map { [$0] } ?? []
        keepsDestination = name == nil
        self.keepsOwners = keepsOwners
        self.source = source
    }

    func run(_ archive: OpaquePointer, from first: OpaquePointer) throws -> [String] {
        var entry: OpaquePointer? = first
        repeat {
            if let entry { try unpack(entry, from: archive) }
        } while try source.next(archive, &entry)
        for (parts, attributes) in pending.reversed() {
            let (parent, name) = try place(parts, making: false)
            guard let made = OpenFile.open(name, in: parent.raw, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) else {
                throw failed(parts)
            }
            try apply(attributes, to: made, parts)
        }
        return leftOut
    }

    private func unpack(_ entry: OpaquePointer, from archive: OpaquePointer) throws {
        let name = try entryName(entry)
        let parsed = try EntryName(name)
        let parts = try parsed.parts(replacing: top, by: prefix)
        if let link = archive_entry_hardlink(entry) ?? archive_entry_hardlink_utf8(entry) {
            let target = Array(UnsafeRawBufferPointer(start: link, count: strlen(link)))
            return try makeHardLink(parts, to: EntryName(target).parts(replacing: top, by: prefix))
        }
        let kind = archive_entry_filetype(entry)
        switch kind {
        case S_IFDIR where parts.isEmpty && keepsDestination: return
        case S_IFDIR, S_IFREG, S_IFLNK, S_IFIFO: break
        default:
            leftOut.append(shown(name))
            return
        }
        let (parent, last) = try place(parts, making: true)
        switch kind {
        case S_IFDIR: try makeDirectory(last, in: parent, attributes(of: entry), parts)
        case S_IFREG: try makeRegular(entry, from: archive, last, in: parent, parts)
        case S_IFLNK: try makeLink(entry, last, in: parent, parts)
        default:
            try clear(last, in: parent, parts)
            let mode = S_IFIFO | archive_entry_perm(entry) & 0o777
            guard withName(last, { mknodat(parent.raw, $0, mode, 0) }) == 0 else { throw failed(parts) }
            try applyByName(entry, last, in: parent, parts)
        }
    }

    // MARK: Places

    /// The directory a path lies in, reached step by step, and its last part. Missing directories are made, mode 0755.
    private func place(_ parts: [[UInt8]], making: Bool) throws -> (parent: OpenFile, name: [UInt8]) {
        guard let name = parts.last else {
            throw ArchiveError("refused an entry of the archive: it has no name")
        }
        let above = Array(parts.dropLast())
        var file = directory
        var start = 0
        if let nearest, above.starts(with: nearest.parts) {
            (file, start) = (nearest.file, nearest.parts.count)
        }
        for index in start..<above.count {
            file = try step(into: above[index], of: file, making: making, Array(above[...index]))
        }
        if file.isKernelView {
            throw ArchiveError(
                "refused to unpack \(path(parts)): it would lie in a view of the kernel, as /proc is")
        }
        nearest = (above, file)
        return (file, name)
    }

    private func step(
        into name: [UInt8], of directory: OpenFile, making: Bool, _ parts: [[UInt8]]
    ) throws -> OpenFile {
        let flags = O_PATH | O_DIRECTORY | O_NOFOLLOW
        if let file = OpenFile.open(name, in: directory.raw, flags) { return file }
        if errno == ENOENT, making,
            withName(name, { mkdirat(directory.raw, $0, 0o755) }) == 0 || errno == EEXIST,
            let file = OpenFile.open(name, in: directory.raw, flags)
        {
            return file
        }
        if errno == ENOTDIR {
            throw ArchiveError(
                "cannot unpack into \(path(parts)): it is no directory, or a symbolic link to one")
        }
        throw failed(parts)
    }

    /// Makes room for a file: what is there goes, unless it is a directory.
    private func clear(_ name: [UInt8], in parent: OpenFile, _ parts: [[UInt8]]) throws {
        guard withName(name, { unlinkat(parent.raw, $0, 0) }) == 0 || errno == ENOENT else {
            throw failed(parts)
        }
    }

    private func path(_ parts: [[UInt8]]) -> String { shown(Array(parts.joined(separator: [47]))) }

    private func failed(_ parts: [[UInt8]]) -> ArchiveError {
        let why = reason()
        return ArchiveError("cannot unpack \(path(parts)): \(why)")
    }

    // MARK: Files

    private func makeDirectory(
        _ name: [UInt8], in parent: OpenFile, _ attributes: Attributes, _ parts: [[UInt8]]
    ) throws {
        if withName(name, { mkdirat(parent.raw, $0, 0o700) }) != 0 {
            guard errno == EEXIST else { throw failed(parts) }
            if OpenFile.open(name, in: parent.raw, O_PATH | O_DIRECTORY | O_NOFOLLOW) == nil {
                try clear(name, in: parent, parts)
                guard withName(name, { mkdirat(parent.raw, $0, 0o700) }) == 0 else { throw failed(parts) }
            }
        }
        pending.append((parts, attributes))
    }

    /// Makes a file that gets its name once it is whole: until then what had the name before is still there, and a
    /// copy that is broken off leaves nothing of it (open(2), O_TMPFILE).
    private func makeRegular(
        _ entry: OpaquePointer, from archive: OpaquePointer, _ name: [UInt8], in parent: OpenFile,
        _ parts: [[UInt8]]
    ) throws {
        // O_TMPFILE, which Swift cannot import: __O_TMPFILE | O_DIRECTORY (asm-generic/fcntl.h).
        let nameless = OpenFile.open([46], in: parent.raw, 0o20_000_000 | O_DIRECTORY | O_WRONLY, mode: 0o600)
        if nameless == nil {
            // Filesystems that have no nameless files say so in one of these ways.
            guard [EOPNOTSUPP, EISDIR, EINVAL, ENOENT].contains(errno) else { throw failed(parts) }
            try clear(name, in: parent, parts)
        }
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW
        guard let file = nameless ?? OpenFile.open(name, in: parent.raw, flags, mode: 0o600) else {
            throw failed(parts)
        }
        try copyData(of: entry, from: archive, to: file, parts)
        try apply(attributes(of: entry), to: file, parts)
        if nameless != nil { try publish(file, as: name, in: parent, parts) }
    }

    /// Gives a nameless file its name, in the place of what has it.
    private func publish(
        _ file: OpenFile, as name: [UInt8], in parent: OpenFile, _ parts: [[UInt8]]
    ) throws {
        let link = { (name: [UInt8]) in
            withName(name) {
                linkat(AT_FDCWD, "/proc/self/fd/\(file.raw)", parent.raw, $0, AT_SYMLINK_FOLLOW)
            }
        }
        if link(name) == 0 { return }
        guard errno == EEXIST else { throw failed(parts) }
        let temporary = Array(".ckpt-\(UInt64.random(in: .min ... .max))".utf8)
        guard link(temporary) == 0 else { throw failed(parts) }
        let renamed = withName(temporary) { from in
            withName(name) { renameat(parent.raw, from, parent.raw, $0) }
        }
        guard renamed == 0 else {
            let error = failed(parts)
            _ = withName(temporary) { unlinkat(parent.raw, $0, 0) }
            throw error
        }
    }

    private func makeHardLink(_ parts: [[UInt8]], to target: [[UInt8]]) throws {
        let (from, name) = try place(target, making: false)
        let (parent, last) = try place(parts, making: true)
        if parts == target { return }
        try clear(last, in: parent, parts)
        let made = withName(name) { name in withName(last) { linkat(from.raw, name, parent.raw, $0, 0) } }
        guard made == 0 else { throw failed(parts) }
    }

    private func makeLink(
        _ entry: OpaquePointer, _ name: [UInt8], in parent: OpenFile, _ parts: [[UInt8]]
    ) throws {
        guard let target = archive_entry_symlink(entry) ?? archive_entry_symlink_utf8(entry) else {
            throw ArchiveError("refused \(path(parts)) in the archive: it is a link to nothing")
        }
        try clear(name, in: parent, parts)
        guard withName(name, { symlinkat(target, parent.raw, $0) }) == 0 else { throw failed(parts) }
        try applyByName(entry, name, in: parent, parts)
    }

    private func copyData(
        of entry: OpaquePointer, from archive: OpaquePointer, to file: OpenFile, _ parts: [[UInt8]]
    ) throws {
        while true {
            var block: UnsafeRawPointer?
            var size = 0
            var offset: Int64 = 0
            let status = archive_read_data_block(archive, &block, &size, &offset)
            if status == ARCHIVE_EOF { break }
            guard status >= ARCHIVE_WARN else {
                throw source.failure ?? ArchiveError("cannot read \(path(parts)) in the archive", archive)
            }
            var sent = 0
            while let block, sent < size {
                let count = pwrite(file.raw, block + sent, size - sent, off_t(offset) + off_t(sent))
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { throw failed(parts) }
                sent += count
            }
        }
        // A hole at the end has no block.
        let whole = archive_entry_size(entry)
        guard let status = file.status, status.st_size >= whole || ftruncate(file.raw, off_t(whole)) == 0
        else {
            throw failed(parts)
        }
    }

    // MARK: Attributes

    private func attributes(of entry: OpaquePointer) -> Attributes {
        var attributes = Attributes(mode: archive_entry_perm(entry) & 0o1777, extended: [])
        attributes.owner = owner(of: entry)
        attributes.times = times(of: entry)
        archive_entry_xattr_reset(entry)
        while true {
            var name: UnsafePointer<CChar>?
            var value: UnsafeRawPointer?
            var size = 0
            guard archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK, let name else { break }
            let text = String(cString: name)
            guard text.hasPrefix("user.") else { continue }
            attributes.extended.append((text, Array(UnsafeRawBufferPointer(start: value, count: size))))
        }
        return attributes
    }

    private func owner(of entry: OpaquePointer) -> (uid: uid_t, gid: gid_t)? {
        guard keepsOwners else { return nil }
        let uid = archive_entry_uid(entry)
        let gid = archive_entry_gid(entry)
        guard let uid = uid_t(exactly: uid), let gid = gid_t(exactly: gid) else { return nil }
        return (uid, gid)
    }

    private func times(of entry: OpaquePointer) -> [timespec]? {
        guard archive_entry_mtime_is_set(entry) != 0 else { return nil }
        let time = timespec(tv_sec: archive_entry_mtime(entry), tv_nsec: archive_entry_mtime_nsec(entry))
        return [time, time]
    }

    /// Sets what the entry says of a file that is open: first the owner, whose change drops bits of the mode.
    private func apply(_ attributes: Attributes, to file: OpenFile, _ parts: [[UInt8]]) throws {
        if let owner = attributes.owner, fchown(file.raw, owner.uid, owner.gid) != 0 { throw failed(parts) }
        guard fchmod(file.raw, attributes.mode) == 0 else { throw failed(parts) }
        for (name, value) in attributes.extended {
            // Not every filesystem has them.
            if fsetxattr(file.raw, name, value, value.count, 0) != 0, errno != ENOTSUP { throw failed(parts) }
        }
        if let times = attributes.times, futimens(file.raw, times) != 0 { throw failed(parts) }
    }

    /// The same for what cannot be opened: a symbolic link, a FIFO.
    private func applyByName(
        _ entry: OpaquePointer, _ name: [UInt8], in parent: OpenFile, _ parts: [[UInt8]]
    ) throws {
        if let owner = owner(of: entry) {
            let changed = withName(name) {
                fchownat(parent.raw, $0, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW)
            }
            guard changed == 0 else { throw failed(parts) }
        }
        if let times = times(of: entry) {
            _ = withName(name) { utimensat(parent.raw, $0, times, AT_SYMLINK_NOFOLLOW) }
        }
    }
}
