import Digests
import Glibc
import LinuxSystem

extension SnapshotTree {
    /// Of so many process images it is remembered that they were found whole.
    private static let remembered = 256

    /// Reads all of a snapshot's process image, pages included, and compares it with its digests.
    ///
    /// For whoever shows what is in it: a flipped bit would be shown as memory. What was found whole is read again
    /// only when a file's size or times are others than then (about 1 s for 1 GB on disk, else under 1 ms).
    /// Throws `damagedSnapshot` with the first file that is another.
    public func checkProcess(_ record: Record) throws(SnapshotTreeError) {
        let place = "snapshots/\(record.id)"
        let list = try list("\(place)/\(Layout.digestsName)", record.manifest.processDigest, record.id)
        let root = try wrapping { () throws(SystemError) in
            try Descriptor.directory(processPath(record.id))
        }
        // Before the reading: what changes meanwhile makes the next look read again.
        let state = try wrapping { () throws(SystemError) in try FileStates.digest(of: root) }
        if wholeProcesses.with({ $0[record.id] == state }) { return }
        let walk = try wrapping { () throws(SystemError) in try DigestWalk.read(root, keepsTimes: false) }
        if let (path, error) = walk.unreadable.min(by: { $0.key < $1.key }) {
            throw .damagedSnapshot(
                record.id, path: "\(place)/process/\(path)", problem: "cannot be read: \(error.reason)")
        }
        if let (path, problem) = list.differences(from: walk.list).first {
            throw .damagedSnapshot(record.id, path: "\(place)/process/\(path)", problem: problem)
        }
        wholeProcesses.with { whole in
            if whole.count >= Self.remembered { whole.removeAll() }
            whole[record.id] = state
        }
    }
}

/// What the kernel says of every file of a tree: it changes with whatever is written to one.
private struct FileStates: TreeVisitor {
    private var bytes: [UInt8] = []

    static func digest(of root: borrowing Descriptor) throws(SystemError) -> Digest {
        var states = FileStates()
        try TreeWalk.walk(root, &states)
        return Digest(of: states.bytes)
    }

    mutating func file(_ name: UnsafePointer<CChar>, type: UInt8, in directory: Int32) throws(SystemError) {
        var status = stat()
        try retrying("fstatat", printable(name)) { fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) }
        add(name)
        for number in [
            Int(status.st_dev), Int(status.st_ino), Int(status.st_size), status.st_mtim.tv_sec,
            status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec,
        ] { withUnsafeBytes(of: number) { bytes += $0 } }
    }

    mutating func enter(
        _ name: UnsafePointer<CChar>, in parent: Int32, opened: Int32
    ) throws(SystemError) -> Bool {
        add(name)
        return true
    }

    private mutating func add(_ name: UnsafePointer<CChar>) {
        bytes += UnsafeRawBufferPointer(start: name, count: strlen(name) + 1)
    }
}
