import Glibc
import LinuxSystem
public import Messages

/// What one directory of the store takes: its files by inode.
struct Holding: TreeVisitor {
    /// Blocks and links of each file, and how many of the links this tree has.
    private(set) var files: [ino_t: (bytes: Int64, links: UInt64, found: UInt64)] = [:]
    /// Blocks of directories, which nobody shares.
    private(set) var directories: Int64 = 0

    static func of(_ path: String) -> Holding {
        var holding = Holding()
        guard let root = try? Descriptor.directory(path), let status = try? root.status() else {
            return holding
        }
        holding.directories = Int64(status.st_blocks) * 512
        // What goes meanwhile takes nothing any more.
        try? TreeWalk.walk(root, &holding)
        return holding
    }

    mutating func file(_ name: UnsafePointer<CChar>, type: UInt8, in directory: Int32) throws(SystemError) {
        var status = stat()
        guard fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return }
        let before = files[status.st_ino]?.found ?? 0
        files[status.st_ino] = (Int64(status.st_blocks) * 512, UInt64(status.st_nlink), before + 1)
    }

    mutating func enter(
        _ name: UnsafePointer<CChar>, in parent: Int32, opened: Int32
    ) throws(SystemError) -> Bool {
        directories += Int64((try? Descriptor.blocks(of: opened)) ?? 0) * 512
        return true
    }

    /// Takes the links that other directories have to files of this one for none.
    mutating func leaveOut(_ links: [ino_t: UInt64]) {
        // One may have come after this tree was looked at.
        for (inode, count) in links {
            if let own = files[inode]?.links { files[inode]!.links = own - min(own, count) }
        }
    }

    /// Bytes on disk that become free when these directories go: those of files that have no name elsewhere. `done`
    /// counts the directories.
    static func freed(by paths: [String], counting done: WorkCount = WorkCount()) -> Int64 {
        var files: [ino_t: (bytes: Int64, links: UInt64, found: UInt64)] = [:]
        var bytes: Int64 = 0
        for path in paths {
            let holding = Holding.of(path)
            done.add(1)
            bytes += holding.directories
            files.merge(holding.files) { ($0.bytes, $0.links, $0.found + $1.found) }
        }
        return files.values.reduce(bytes) { $1.found >= $1.links ? $0 + $1.bytes : $0 }
    }

    /// All bytes, and those of files that are linked from elsewhere too.
    var total: Int64 { files.values.reduce(directories) { $0 + $1.bytes } }
    var shared: Int64 { files.values.reduce(0) { $0 + ($1.found < $1.links ? $1.bytes : 0) } }
}

extension Descriptor {
    fileprivate static func blocks(of raw: Int32) throws(SystemError) -> Int64 {
        var status = stat()
        try retrying("fstat") { fstat(raw, &status) }
        return Int64(status.st_blocks)
    }
}

extension SnapshotTree {
    /// What the snapshots take on disk, and the whole store.
    ///
    /// Counted afresh, file by file. A file is a snapshot's own when no other one has it: its process image's when it
    /// has no link elsewhere, a layer's when also no other snapshot lists the layer.
    public func usage(of records: [Record]) throws(SnapshotTreeError) -> UsageReport {
        let (rows, merges) = try locked { (catalog) throws(SnapshotTreeError) in
            (try catalog.layers(), Array(catalog.index.merges.keys))
        }
        var listers: [String: Int] = [:]
        for row in rows { for layer in Set(row.layers) { listers[layer, default: 0] += 1 } }
        var layers: [String: Holding] = [:]
        for layer in listers.keys { layers[layer] = Holding.of(layout.layerPath(layer)) }
        // Merged layers that no snapshot lists yet go with their parts: their links make nothing shared.
        let unlisted = merges.filter { listers[$0] == nil }.map { Holding.of(layout.layerPath($0)) }
        var links: [ino_t: UInt64] = [:]
        for holding in unlisted {
            for (inode, file) in holding.files { links[inode, default: 0] += file.found }
        }
        for layer in listers.keys where !links.isEmpty { layers[layer]!.leaveOut(links) }
        var images: [String: Holding] = [:]
        for row in rows { images[row.id] = Holding.of("\(layout.snapshotPath(row.id))/process") }
        let usages = records.compactMap { record -> SnapshotUsage? in
            guard let image = images[record.id] else { return nil }
            return SnapshotUsage(
                id: record.id, tags: record.tags, process: Self.share(image, record.manifest),
                layers: Self.share(
                    record.layers.compactMap { layer in
                        layers[layer].map { ($0, isAlone: listers[layer] == 1) }
                    }))
        }
        return UsageReport(
            snapshots: usages, processBytes: Self.once(Array(images.values)),
            layerBytes: Self.once(Array(layers.values) + unlisted))
    }

    private static func share(_ image: Holding, _ manifest: Manifest) -> DiskShare {
        let memory = manifest.memory.map { $0.totalBytes - $0.storedBytes } ?? 0
        return DiskShare(
            logicalBytes: manifest.processBytes + memory, ownBytes: image.total - image.shared,
            sharedBytes: image.shared)
    }

    private static func share(_ layers: [(Holding, isAlone: Bool)]) -> DiskShare {
        var share = DiskShare()
        for (layer, isAlone) in layers {
            let shared = isAlone ? layer.shared : layer.total
            share.logicalBytes += layer.total
            share.sharedBytes += shared
            share.ownBytes += layer.total - shared
        }
        return share
    }

    /// The bytes of all, each file counted once.
    private static func once(_ holdings: [Holding]) -> Int64 {
        var seen: Set<ino_t> = []
        var bytes: Int64 = 0
        for holding in holdings {
            bytes += holding.directories
            for (inode, file) in holding.files where seen.insert(inode).inserted { bytes += file.bytes }
        }
        return bytes
    }
}
