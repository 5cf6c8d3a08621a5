import CLinux
import Glibc
import LinuxSystem

/// Makes one layer of several: through it overlayfs shows what it shows through them, one over the other.
///
/// Nothing is copied that the filesystem can link or clone. The layers are laid down from the topmost to the lowest,
/// each walked once, with one descriptor whatever the depth; what lies there already wins. Rules as in
/// Documentation/filesystems/overlayfs.rst: a whiteout hides what is below and so does an opaque directory, directories
/// merge, and the topmost one's attributes are the merged one's.
final class LayerMerge: TreeVisitor, EntryCopying {
    /// Where everything in the new layer comes from.
    struct Result {
        /// The number of the part, lowest 0, by path as in a digest list.
        var origins: [String: Int] = [:]
        /// Directories that hide what is below by virtue of a lower part, by path.
        var madeOpaque: Set<String> = []
    }

    /// A directory's look, which it gets when nothing in it changes any more.
    struct Look {
        let mode: mode_t
        let times: [timespec]
    }

    let root: Descriptor
    let data = FileCopy()
    let attributes = ExtendedAttributes()
    var firstNames: [ino_t: [CChar]] = [:]
    var copiedBytes: Int64 = 0
    private(set) var path: [CChar] = []
    private(set) var result = Result()
    private var destination: Descriptor
    private var looks: [ino_t: Look] = [:]
    private var part = 0
    private var pathLengths: [Int] = []
    /// How many directories below one in which programs count links.
    private var linkCounting = 0

    /// Files up to this size, in bytes, are copied where programs count links.
    private static let copiedForLinkCount = 16 << 20

    /// Merges the directories `parts`, lowest first, into the empty directory `layer` on their filesystem.
    ///
    /// Throws what fails, ESTALE where a part has something that cannot be merged. What the layer's directory holds by
    /// then is the caller's to remove. `done` counts the parts.
    static func merge(
        _ parts: [String], into layer: String, counting done: WorkCount = WorkCount()
    ) throws(SystemError) -> Result {
        let merge = try LayerMerge(try Descriptor.directory(layer))
        for (number, part) in parts.enumerated().reversed() {
            try merge.lay(try Descriptor.directory(part), number, isTopmost: number == parts.count - 1)
            done.add(1)
        }
        var finish = MergeFinish(looks: merge.looks)
        try TreeWalk.walk(merge.root, &finish)
        for path in finish.removed { merge.result.origins[path] = nil }
        return merge.result
    }

    private init(_ layer: borrowing Descriptor) throws(SystemError) {
        root = try layer.reopenedDirectory()
        destination = try layer.reopenedDirectory()
        data.probe(in: root.raw)
    }

    var rootDirectory: Int32 { root.raw }
    var destinationDirectory: Int32 { destination.raw }

    private func lay(
        _ directory: borrowing Descriptor, _ number: Int, isTopmost: Bool
    ) throws(SystemError) {
        part = number
        destination = try root.reopenedDirectory()
        // An inode of one part is none of another.
        firstNames = [:]
        if isTopmost {
            try takeLook(of: directory.raw)
            result.origins["."] = number
        }
        var visitor = self
        try TreeWalk.walk(directory, &visitor)
    }

    func file(_ name: UnsafePointer<CChar>, type: UInt8, in directory: Int32) throws(SystemError) {
        var status = stat()
        try retrying("fstatat", printable(name)) { fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) }
        var there = stat()
        if fstatat(destination.raw, name, &there, AT_SYMLINK_NOFOLLOW) == 0 {
            // A directory above a file merges with nothing that lies below the file.
            if there.st_mode & S_IFMT == S_IFDIR { try makeOpaque(name) }
            return
        }
        let hasTwin = status.st_nlink > 1 && firstNames[status.st_ino] != nil
        if !hasTwin, !isCopied(status), linkat(directory, name, destination.raw, name, 0) == 0 {
            if status.st_nlink > 1 { rememberFirstName(name, status) }
        } else {
            // Also where a link fails for whatever reason (EMLINK, EPERM …).
            try copyEntry(name, status, in: directory)
        }
        result.origins[place(of: name)] = part
    }

    func enter(
        _ name: UnsafePointer<CChar>, in parent: Int32, opened: Int32
    ) throws(SystemError) -> Bool {
        if fgetxattr(opened, "trusted.overlay.redirect", nil, 0) >= 0 {
            throw SystemError(call: "merge", code: ESTALE, subject: "\(printable(name)) is redirected")
        }
        let isNew = mkdirat(destination.raw, name, 0o700) == 0
        guard isNew || errno == EEXIST else { throw .last("mkdirat", printable(name)) }
        let at = openat(destination.raw, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        if at < 0 {
            if !isNew, errno == ENOTDIR || errno == ELOOP { return false }
            throw .last("openat", printable(name))
        }
        let child = Descriptor(owning: at)
        if !isNew {
            if MergeFinish.isOpaque(child.raw) { return false }
            if MergeFinish.isOpaque(opened) { try makeOpaque(name) }
        }
        if linkCounting > 0 || LayerSharing.linkCounting.contains(printable(name)) { linkCounting += 1 }
        pathLengths.append(path.count)
        path.append(contentsOf: UnsafeBufferPointer(start: name, count: strlen(name)))
        if isNew { result.origins[path.withTerminator { DigestList.escaped($0) }] = part }
        path.append(OverlayStack.slash)
        destination = child
        if isNew { try takeLook(of: opened) }
        return true
    }

    func finish(_ directory: Int32) throws(SystemError) {
        guard let length = pathLengths.popLast() else { return }
        destination = try Descriptor.open("..", below: destination, O_RDONLY | O_DIRECTORY)
        path.removeLast(path.count - length)
        if linkCounting > 0 { linkCounting -= 1 }
    }

    /// Gives the directory that the walk is in a part's owner and attributes, and notes what it gets last.
    private func takeLook(of source: Int32) throws(SystemError) {
        let twin = destination.raw
        var status = stat()
        try retrying("fstat") { fstat(source, &status) }
        try retrying("fchown") { fchown(twin, status.st_uid, status.st_gid) }
        try attributes.copy(from: .descriptor(source), to: .descriptor(twin))
        looks[try destination.status().st_ino] = Look(
            mode: status.st_mode & 0o7777, times: [status.st_atim, status.st_mtim])
    }

    /// Clones and copies have a link count of their own.
    private func isCopied(_ status: stat) -> Bool {
        guard status.st_mode & S_IFMT == S_IFREG else { return false }
        return data.canClone || linkCounting > 0 && status.st_size <= Self.copiedForLinkCount
    }

    private func makeOpaque(_ name: UnsafePointer<CChar>) throws(SystemError) {
        let at = destination.raw
        let child = Descriptor(
            owning: try retrying("openat", printable(name)) {
                openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            })
        if MergeFinish.isOpaque(child.raw) { return }
        try retrying("fsetxattr", printable(name)) { fsetxattr(child.raw, MergeFinish.opaque, "y", 1, 0) }
        result.madeOpaque.insert(place(of: name))
    }

    private func place(of name: UnsafePointer<CChar>) -> String {
        let whole = path + UnsafeBufferPointer(start: name, count: strlen(name) + 1)
        return whole.withUnsafeBufferPointer { DigestList.escaped($0.baseAddress!) }
    }
}

/// The last walk over a merged layer: directories get their modes and times, and whiteouts go where nothing lies below.
///
/// overlayfs reads a directory that merges with no other without a look for whiteouts (fs/overlayfs/readdir.c,
/// ovl_dir_is_real): one that hides nothing any more would show.
struct MergeFinish: TreeVisitor {
    static let opaque = "trusted.overlay.opaque"

    /// The whiteouts that went, by path as in a digest list.
    private(set) var removed: [String] = []
    private let looks: [ino_t: LayerMerge.Look]
    private var path = ""
    private var lengths: [Int] = []
    /// How many directories deep the walk is in an opaque one.
    private var closed = 0

    init(looks: [ino_t: LayerMerge.Look]) { self.looks = looks }

    /// Whether a directory hides what lies below it.
    static func isOpaque(_ directory: Int32) -> Bool {
        var value: UInt8 = 0
        return fgetxattr(directory, opaque, &value, 1) == 1 && value == UInt8(ascii: "y")
    }

    mutating func file(_ name: UnsafePointer<CChar>, type: UInt8, in directory: Int32) throws(SystemError) {
        guard closed > 0, type == UInt8(DT_CHR) else { return }
        var status = stat()
        try retrying("fstatat", printable(name)) { fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) }
        guard status.st_rdev == 0 else { return }
        try retrying("unlinkat", printable(name)) { unlinkat(directory, name, 0) }
        removed.append(path + DigestList.escaped(name))
    }

    mutating func enter(
        _ name: UnsafePointer<CChar>, in parent: Int32, opened: Int32
    ) throws(SystemError) -> Bool {
        if closed > 0 || Self.isOpaque(opened) { closed += 1 }
        lengths.append(path.utf8.count)
        path += DigestList.escaped(name) + "/"
        return true
    }

    mutating func finish(_ directory: Int32) throws(SystemError) {
        var status = stat()
        try retrying("fstat") { fstat(directory, &status) }
        guard let look = looks[status.st_ino] else { return }
        try retrying("fchmod") { fchmod(directory, look.mode) }
        try retrying("futimens") { futimens(directory, look.times) }
    }

    mutating func leave(_ name: UnsafePointer<CChar>, in parent: Int32) throws(SystemError) {
        if closed > 0 { closed -= 1 }
        path = String(path.utf8.prefix(lengths.removeLast()))!
    }
}

extension [CChar] {
    /// Runs `body` with the bytes as a C string.
    fileprivate func withTerminator<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result {
        (self + [0]).withUnsafeBufferPointer { body($0.baseAddress!) }
    }
}
