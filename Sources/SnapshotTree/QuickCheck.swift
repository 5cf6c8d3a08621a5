import Digests
import Glibc
public import LinuxSystem
import Messages

/// Digest lists that were read lately, by their digests: to read one from its text takes longer than all else.
struct ReadLists {
    /// How many entries are kept in all, some 200 bytes each.
    private static let most = 50_000
    private(set) var lists: [Digest: DigestList] = [:]
    private var entries = 0

    mutating func keep(_ list: DigestList, _ digest: Digest) {
        guard list.entries.count <= Self.most, lists[digest] == nil else { return }
        if entries + list.entries.count > Self.most { (lists, entries) = ([:], 0) }
        lists[digest] = list
        entries += list.entries.count
    }
}

/// Digests of files that were read lately, by what a change of the file would change (inode(7)).
struct ReadFiles {
    struct Identity: Hashable {
        let inode: DigestWalk.Inode
        let size: Int64
        let changed: Int64

        /// nil of a file that was changed so lately that the next change might bear the same time.
        init?(_ status: stat) {
            var now = timespec()
            clock_gettime(CLOCK_REALTIME, &now)
            changed = Self.nanoseconds(status.st_ctim)
            guard abs(Self.nanoseconds(now) - changed) > 100_000_000 else { return nil }
            inode = DigestWalk.Inode(device: status.st_dev, number: status.st_ino)
            size = Int64(status.st_size)
        }

        private static func nanoseconds(_ time: timespec) -> Int64 {
            Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
        }
    }

    /// How many are kept, some 100 bytes each.
    private static let most = 50_000
    private(set) var digests: [Identity: Digest] = [:]

    mutating func keep(_ digest: Digest, of file: Identity) {
        if digests.count >= Self.most { digests = [:] }
        digests[file] = digest
    }
}

extension SnapshotTree {
    /// Files of a process image up to this size are read before a restore; of larger ones, the pages, the size is
    /// compared.
    static let readBeforeUse: Int64 = 1 << 20
    /// Layers with more entries than this are only looked at where `verify` is asked for.
    static let comparedBeforeUse = 4096

    /// Looks whether a snapshot is still what was saved, at a cost that a restore can bear.
    ///
    /// Read and compared with their digests are the lists and every image file up to 1 MiB, where it has changed since
    /// it was last read; of pages files and of files
    /// in layers of up to 4,096 entries the type and the size are compared. `thoroughly` reads everything.
    /// `read` counts the bytes that this reads.
    /// A merged layer with damage is given up for its parts, as long as those are there.
    /// Throws `damagedSnapshot` with the first file that is another.
    public func checkBeforeUse(
        _ record: Record, thoroughly: Bool = false, counting read: WorkCount? = nil
    ) throws(SnapshotTreeError) {
        while true {
            let layers = try layersToMount(of: record)
            do throws(SnapshotTreeError) {
                return try check(record, layers, thoroughly: thoroughly, counting: read)
            } catch {
                guard case .damagedSnapshot(_, let path, let problem) = error,
                    let merge = layers.first(where: {
                        !record.layers.contains($0)
                            && ["layers/\($0)", "digests/\($0)"].contains { path.hasPrefix($0) }
                    })
                else { throw error }
                report("merged layer \(merge) is given up: \(path) \(problem)")
                try giveUp(merge: merge)
            }
        }
    }

    private func check(
        _ record: Record, _ layers: [String], thoroughly: Bool, counting read: WorkCount?
    ) throws(SnapshotTreeError) {
        if thoroughly {
            let verification = Verification(self, counting: read)
            try verification.check(record, layers: layers)
            if let damage = try verification.report().damage.first {
                throw .damagedSnapshot(record.id, path: damage.path, problem: damage.problem)
            }
            return
        }
        let place = "snapshots/\(record.id)"
        let images = try list("\(place)/\(Layout.digestsName)", record.manifest.processDigest, record.id)
        try compare(images, "\(place)/process", record.id, reading: Self.readBeforeUse)
        for layer in layers {
            let digest = record.manifest.layerDigests[layer] ?? digest(ofLayer: layer)
            let list = try list("digests/\(layer)", digest, record.id)
            let isSmall = list.entries.count <= Self.comparedBeforeUse
            try compare(isSmall ? list : DigestList(), "layers/\(layer)", record.id, reading: -1)
        }
    }

    func list(_ path: String, _ digest: Digest?, _ id: String) throws(SnapshotTreeError) -> DigestList {
        do throws(SystemError) {
            let bytes = try Files.read("\(layout.root)/\(path)")
            if let digest, Digest(of: bytes) == digest {
                if let known = lists.with({ $0.lists[digest] }) { return known }
                if let list = DigestList(bytes) {
                    lists.with { $0.keep(list, digest) }
                    return list
                }
            }
        } catch {
            throw .damagedSnapshot(id, path: path, problem: Self.problem(error))
        }
        throw .damagedSnapshot(id, path: path, problem: "has other content than was saved")
    }

    /// Compares types and sizes, and the contents of files that are not longer than `limit`.
    private func compare(
        _ list: DigestList, _ place: String, _ id: String, reading limit: Int64
    ) throws(SnapshotTreeError) {
        let root: Descriptor
        do throws(SystemError) { root = try Descriptor.directory("\(layout.root)/\(place)") } catch {
            throw .damagedSnapshot(id, path: place, problem: Self.problem(error))
        }
        for (name, entry) in list.entries where !name.utf8.contains(UInt8(ascii: "%")) {
            let found: DigestList.Entry
            do throws(SystemError) {
                found = try look(at: name, as: entry, below: root, reading: limit)
            } catch {
                // Only a walk step by step comes so deep.
                if error.code == ENAMETOOLONG { continue }
                throw .damagedSnapshot(id, path: "\(place)/\(name)", problem: Self.problem(error))
            }
            if let problem = entry.difference(from: found) {
                throw .damagedSnapshot(id, path: "\(place)/\(name)", problem: problem)
            }
        }
    }

    /// The entry with what can be seen of it at once.
    private func look(
        at name: String, as entry: DigestList.Entry, below root: borrowing Descriptor, reading limit: Int64
    ) throws(SystemError) -> DigestList.Entry {
        let at = root.raw
        var status = stat()
        try retrying("fstatat", name) { fstatat(at, name, &status, AT_SYMLINK_NOFOLLOW) }
        var found = entry
        found.mode = status.st_mode & S_IFMT | entry.mode & 0o7777
        guard entry.type == S_IFREG else { return found }
        found.size = Int64(status.st_size)
        if entry.size <= limit, found == entry { found.content = try content(of: name, status, in: at) }
        return found
    }

    private func content(of name: String, _ status: stat, in directory: Int32) throws(SystemError) -> Digest {
        let identity = ReadFiles.Identity(status)
        if let identity, let known = files.with({ $0.digests[identity] }) { return known }
        let digest = try DigestWalk.content(of: name, in: directory)
        if let identity { files.with { $0.keep(digest, of: identity) } }
        return digest
    }

    private static func problem(_ error: SystemError) -> String {
        error.isMissing ? "is missing" : "cannot be read: \(error.reason)"
    }
}
