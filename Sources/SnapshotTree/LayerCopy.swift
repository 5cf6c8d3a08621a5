import Glibc
import LinuxSystem

/// One run of a capture: walks the upper directory and makes each entry's twin in the layer.
final class LayerCopy: TreeVisitor, EntryCopying {
    let root: Descriptor
    /// The twin of the directory that the walk is in.
    var destination: Descriptor
    let data: FileCopy
    let attributes = ExtendedAttributes()
    var sharing: LayerSharing?
    /// Where the first name of an inode with several lies in the layer.
    var firstNames: [ino_t: [CChar]] = [:]
    var linked = 0
    /// The paths of files that are the same in the previous layer.
    var unchanged: [[CChar]] = []
    var copiedBytes: Int64 = 0

    private var index: CaptureIndex
    private let device: dev_t
    private var entries = 0
    // The inodes of the directory the walk is in and of those above it; its path, each part ending in a
    // slash, and the lengths to cut it back to.
    private var inodes: [ino_t]
    private(set) var path: [CChar] = []
    private var pathLengths: [Int] = []

    /// Prepares a copy of `source` into the empty directory `layer`; `hot` is kept in the new index, `copied` counts.
    init(
        _ source: borrowing Descriptor, into layer: borrowing Descriptor, hot: Set<ino_t>,
        counting copied: WorkCount
    ) throws(SystemError) {
        data = FileCopy(counting: copied)
        root = try layer.reopenedDirectory()
        destination = try layer.reopenedDirectory()
        index = try CaptureIndex(of: source, hot: hot)
        device = index.device
        inodes = [index.root]
    }

    var rootDirectory: Int32 { root.raw }
    var destinationDirectory: Int32 { destination.raw }

    /// The directory that the walk is in.
    var directoryInode: ino_t { inodes[inodes.count - 1] }

    /// Lets unchanged files be linked from the layer of a previous capture, but for the hot ones.
    func share(_ previous: LayerCapture.Previous, except hot: Set<ino_t>) {
        guard previous.index.device == index.device, previous.index.root == index.root,
            let layer = try? Descriptor.directory(previous.layer)
        else { return }
        sharing = LayerSharing(previous.index, layer, hot: hot)
    }

    func run(_ source: borrowing Descriptor) throws(SystemError) -> LayerCapture.Captured {
        var visitor = self
        try TreeWalk.walk(source, &visitor)
        return LayerCapture.Captured(
            index: index, entries: entries, linked: linked, copiedBytes: copiedBytes, unchanged: unchanged)
    }

    func reuse(_ name: UnsafePointer<CChar>, _ status: stat) -> Bool {
        guard let sharing, sharing.hasTwin(of: name, status, parent: directoryInode) else { return false }
        unchanged.append(path + UnsafeBufferPointer(start: name, count: strlen(name) + 1))
        // A clone costs more than a link (75 µs against 17), but does not show in the link count.
        guard !data.canClone, sharing.link(name, to: destination.raw) else { return false }
        linked += 1
        data.count(status)
        return true
    }

    func file(_ name: UnsafePointer<CChar>, type: UInt8, in directory: Int32) throws(SystemError) {
        var status = stat()
        try retrying("fstatat", printable(name)) { fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) }
        entries += 1
        index.note(status, name: name, parent: directoryInode)
        try copyEntry(name, status, in: directory)
    }

    func enter(
        _ name: UnsafePointer<CChar>, in parent: Int32, opened: Int32
    ) throws(SystemError) -> Bool {
        var status = stat()
        try retrying("fstat", printable(name)) { fstat(opened, &status) }
        guard status.st_dev == device else {
            // A subvolume made inside the sandbox: its inodes would be taken for others.
            throw SystemError(call: "capture", code: EXDEV, subject: printable(name))
        }
        let at = destination.raw
        try retrying("mkdirat", printable(name)) { mkdirat(at, name, 0o700) }
        destination = Descriptor(
            owning: try retrying("openat", printable(name)) {
                openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            })
        sharing?.enter(name, status, parent: directoryInode)
        index.note(status, name: name, parent: directoryInode)
        inodes.append(status.st_ino)
        pathLengths.append(path.count)
        path.append(contentsOf: UnsafeBufferPointer(start: name, count: strlen(name)))
        path.append(CChar(bitPattern: UInt8(ascii: "/")))
        entries += 1
        return true
    }

    /// Gives the twin its attributes and times last, when nothing in it changes any more, and climbs.
    func finish(_ directory: Int32) throws(SystemError) {
        var status = stat()
        try retrying("fstat") { fstat(directory, &status) }
        if pathLengths.isEmpty { return try copyMetadata(status, from: directory, to: destination.raw) }
        // Opened before the twin gets a mode that may forbid it.
        let above = try Descriptor.open("..", below: destination, O_RDONLY | O_DIRECTORY)
        try copyMetadata(status, from: directory, to: destination.raw)
        destination = above
        sharing?.leave()
        inodes.removeLast()
        path.removeLast(path.count - pathLengths.removeLast())
    }
}
