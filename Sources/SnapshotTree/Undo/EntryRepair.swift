import CLinux
import Glibc
import LinuxSystem
import LocalArchive

/// Changes single entries of a sandbox's files, through its own mounts.
final class EntryRepair {
    private let attributes = ExtendedAttributes()

    /// Gives an entry that is still the same inode, or a copy of a lower one, its content and attributes; whether
    /// anything differed. `upper` is the directory that shows what it is now.
    func mend(
        _ name: [UInt8], to entry: UpperEntry, upper: Int32, in merged: MergedDirectory
    ) throws(SystemError) -> Bool {
        let path = name.map { CChar(bitPattern: $0) } + [0]
        var isChanged = false
        if entry.isRegular, try !hasContent(path, entry.content, in: upper) {
            let at = try merged.descriptor()
            // ext4 starts writing back a file that was truncated to nothing when it is closed.
            let flags = O_WRONLY | O_NOFOLLOW | O_CLOEXEC | (entry.content.isDense ? 0 : O_TRUNC)
            let file = Descriptor(
                owning: try retrying("openat", printable(path)) { openat(at, path, flags) })
            try entry.content.write(to: file)
            isChanged = true
        }
        let status = try entryStatus(name, in: upper)
        return try mendAttributes(path, entry, status, upper: upper, in: merged) || isChanged
    }

    private func hasContent(
        _ name: [CChar], _ content: FileContent, in directory: Int32
    ) throws(SystemError) -> Bool {
        var status = stat()
        try retrying("fstatat", printable(name)) { fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) }
        if Int(status.st_size) != content.size { return false }
        let file = Descriptor(
            owning: try retrying("openat", printable(name)) {
                openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME)
            })
        return try FileContent(of: file, size: content.size, blocks: Int(status.st_blocks)) == content
    }

    private func mendAttributes(
        _ name: [CChar], _ entry: UpperEntry, _ status: stat, upper: Int32, in merged: MergedDirectory
    ) throws(SystemError) -> Bool {
        let now = try name.withUnsafeBufferPointer { (name) throws(SystemError) in
            UpperEntry(status, attributes: try attributes.all(of: .entry(name.baseAddress!, in: upper)))
        }
        if now.hasAttributes(of: entry) { return false }
        try give(name, entry, was: now, in: try merged.descriptor())
        return true
    }

    /// The same for a directory, of which `status` and `directory` are in the upper.
    func mendDirectory(
        _ entry: UpperEntry, _ status: stat, _ directory: borrowing Descriptor, _ merged: MergedDirectory
    ) throws(SystemError) -> Bool {
        let now = UpperEntry(status, attributes: try attributes.all(of: .descriptor(directory.raw)))
        if now.hasAttributes(of: entry) { return false }
        try give([CChar(bitPattern: UInt8(ascii: ".")), 0], entry, was: now, in: try merged.descriptor())
        return true
    }

    /// Owner, mode, extended attributes and times, in the order in which none undoes another.
    private func give(
        _ name: [CChar], _ entry: UpperEntry, was now: UpperEntry?, in directory: Int32
    ) throws(SystemError) {
        if now?.owner != entry.owner || now?.group != entry.group {
            try retrying("fchownat", printable(name)) {
                fchownat(directory, name, entry.owner, entry.group, AT_SYMLINK_NOFOLLOW)
            }
        }
        if entry.kind != S_IFLNK {
            try retrying("fchmodat", printable(name)) { fchmodat(directory, name, entry.mode & 0o7777, 0) }
        }
        let wanted = entry.visibleAttributes
        for attribute in now?.visibleAttributes ?? []
        where !wanted.contains(where: { $0.name == attribute.name }) {
            let place = "/proc/self/fd/\(directory)/".utf8CString.dropLast() + name
            let attribute = attribute.name.map { CChar(bitPattern: $0) } + [0]
            try retrying("removexattr", printable(name)) { lremovexattr(Array(place), attribute) }
        }
        try name.withUnsafeBufferPointer { (name) throws(SystemError) in
            try attributes.set(wanted, on: .entry(name.baseAddress!, in: directory))
        }
        let times = [entry.accessed, entry.modified]
        try retrying("utimensat", printable(name)) { utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW) }
    }

    /// Whether a directory hides the one below.
    func isOpaque(_ name: [UInt8], in upper: Int32) throws(SystemError) -> Bool {
        let directory = try openDirectory(name, in: upper)
        let all = try attributes.all(of: .descriptor(directory.raw))
        return UpperEntry(try directory.status(), attributes: all).isOpaque
    }

    /// Makes anything but a directory.
    func make(_ name: [UInt8], _ entry: UpperEntry, in merged: MergedDirectory) throws(SystemError) {
        let at = try merged.descriptor()
        let path = name.map { CChar(bitPattern: $0) } + [0]
        try entry.make(path, in: at)
        try give(path, entry, was: nil, in: at)
    }

    /// Makes an empty directory; `finishDirectory` gives it its attributes once it is full.
    func makeDirectory(_ name: [UInt8], in merged: MergedDirectory) throws(SystemError) {
        let at = try merged.descriptor()
        let path = name.map { CChar(bitPattern: $0) } + [0]
        try retrying("mkdirat", printable(path)) { mkdirat(at, path, 0o700) }
    }

    func finishDirectory(_ entry: UpperEntry, _ merged: MergedDirectory) throws(SystemError) {
        try give([CChar(bitPattern: UInt8(ascii: ".")), 0], entry, was: nil, in: try merged.descriptor())
    }

    /// Gives a file another name.
    func link(
        _ name: [UInt8], in from: MergedDirectory, as new: [UInt8], in merged: MergedDirectory
    ) throws(SystemError) {
        let (source, target) = (try from.descriptor(), try merged.descriptor())
        let paths = (name.map { CChar(bitPattern: $0) } + [0], new.map { CChar(bitPattern: $0) } + [0])
        try retrying("linkat", printable(paths.1)) { linkat(source, paths.0, target, paths.1, 0) }
    }

    /// Removes what is there, with all that is in it; nothing is as good.
    func remove(_ name: [UInt8], in merged: MergedDirectory) throws(SystemError) {
        let at = try merged.descriptor()
        let path = name.map { CChar(bitPattern: $0) } + [0]
        if unlinkat(at, path, 0) == 0 || errno == ENOENT { return }
        guard errno == EISDIR || errno == EPERM else { throw .last("unlinkat", printable(path)) }
        let directory = MergedDirectory(name, in: merged)
        var names: [[UInt8]] = []
        let opened = try openDirectory(name, in: at)
        try DirectoryEntries(of: opened).forEach { (name, _) throws(SystemError) in
            names.append(bytes(of: name))
        }
        for name in names { try remove(name, in: directory) }
        try retrying("unlinkat", printable(path)) { unlinkat(at, path, AT_REMOVEDIR) }
    }
}

extension UpperEntry {
    /// Makes anything but a directory, with its content and without its attributes.
    func make(_ name: [CChar], in directory: Int32) throws(SystemError) {
        switch kind {
        case S_IFREG:
            let file = Descriptor(
                owning: try retrying("openat", printable(name)) {
                    openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
                })
            try content.write(to: file)
        case S_IFLNK:
            let target = content.target.map { CChar(bitPattern: $0) } + [0]
            try retrying("symlinkat", printable(name)) { symlinkat(target, directory, name) }
        default:
            try retrying("mknodat", printable(name)) { mknodat(directory, name, kind | 0o600, device) }
        }
    }

    /// Whether it has the same owner, mode, attributes and time of change as another, as the sandbox sees them.
    fileprivate func hasAttributes(of other: UpperEntry) -> Bool {
        mode == other.mode && owner == other.owner && group == other.group
            && modified.tv_sec == other.modified.tv_sec && modified.tv_nsec == other.modified.tv_nsec
            && visibleAttributes == other.visibleAttributes
    }
}
