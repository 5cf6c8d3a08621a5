public import Digests
import Glibc
import LinuxSystem

/// Digests that a publication need not make again, because the bytes were read just now or have not changed.
public struct KnownDigests: Sendable {
    /// Files of the process image, by path below it.
    public var process: [String: Digest]
    /// Files of the process image that are hard links: the path below the parent snapshot's process image.
    public var processLinks: [String: String]
    /// The layer that the own one was compared with, and what of it has not changed.
    var previousLayer: (id: String, unchanged: [[CChar]])?

    /// Nothing is known.
    public init(process: [String: Digest] = [:], processLinks: [String: String] = [:]) {
        self.process = process
        self.processLinks = processLinks
    }

    /// Files of the own layer that a capture proved to be the same in an earlier layer.
    public mutating func add(unchangedIn layer: String, _ captured: LayerCapture.Captured) {
        previousLayer = (layer, captured.unchanged)
    }
}

extension SnapshotTree {
    /// Makes the digest lists of a staged snapshot and of the layer it brings, and notes their digests.
    func addDigests(
        to manifest: inout Manifest, _ staging: Staging, _ known: KnownDigests, counting read: WorkCount?
    ) throws(SnapshotTreeError) {
        let directory = try wrapping { () throws(SystemError) in try Descriptor.directory(staging.path) }
        let links = processDigests(manifest.parent, known.processLinks)
        manifest.processDigest = try wrapping { () throws(SystemError) in
            let walk = try DigestWalk.read(
                try Descriptor.directory(staging.processPath), keepsTimes: false, counting: read
            ) { path, _ in known.process[path] ?? links[path] }
            return try directory.write(walk, to: Layout.digestsName)
        }
        let inherited = try digests(of: manifest.layers, parent: manifest.parent, own: manifest.ownLayer)
        manifest.layerDigests = inherited
        guard let own = manifest.ownLayer else { return }
        let before = unchangedDigests(known)
        manifest.layerDigests[own] = try wrapping { () throws(SystemError) in
            let layer = try Descriptor.directory(staging.layerPath)
            let walk = try DigestWalk.read(layer, keepsTimes: true, counting: read) { path, status in
                guard let entry = before[path], entry.size == Int64(status.st_size) else { return nil }
                return entry.content
            }
            return try directory.write(walk, to: Staging.layerDigestsName)
        }
    }

    /// The digests of files that are linked from the parent's process image; without them they are read.
    private func processDigests(_ parent: String?, _ links: [String: String]) -> [String: Digest] {
        guard let parent, !links.isEmpty,
            let bytes = try? Files.read("\(layout.snapshotPath(parent))/\(Layout.digestsName)"),
            let record = try? record(parent), record.manifest.processDigest == Digest(of: bytes),
            let list = DigestList(bytes)
        else { return [:] }
        return links.compactMapValues { list.entries[$0]?.content }
    }

    private func unchangedDigests(_ known: KnownDigests) -> [String: DigestList.Entry] {
        guard let (layer, unchanged) = known.previousLayer, !unchanged.isEmpty,
            let bytes = try? Files.read(layout.digestsPath(ofLayer: layer)),
            digest(ofLayer: layer).map({ $0 == Digest(of: bytes) }) ?? true, let list = DigestList(bytes)
        else { return [:] }
        var entries: [String: DigestList.Entry] = [:]
        for name in unchanged {
            let path = Self.escapedPath(name)
            entries[path] = list.entries[path]
        }
        return entries
    }

    /// A path of bytes as it stands in a list: escaping leaves the slashes.
    private static func escapedPath(_ path: [CChar]) -> String {
        path.withUnsafeBufferPointer { DigestList.escaped($0.baseAddress!) }
    }

    /// The digests of the lists of layers that are in the store already.
    private func digests(
        of layers: [String], parent: String?, own: String?
    ) throws(SnapshotTreeError) -> [String: Digest] {
        let known = try parent.flatMap { (id) throws(SnapshotTreeError) in
            try record(id)?.manifest.layerDigests
        }
        var digests: [String: Digest] = [:]
        for layer in layers where layer != own {
            if let digest = known?[layer] ?? digest(ofLayer: layer) {
                digests[layer] = digest
            } else if let bytes = try? Files.read(layout.digestsPath(ofLayer: layer)) {
                // No snapshot lists it any more: only a sandbox stands on it.
                digests[layer] = Digest(of: bytes)
            }
        }
        return digests
    }

    /// What some snapshot says of a layer's digest list; nil where none lists the layer.
    func digest(ofLayer layer: String) -> Digest? {
        try? locked { (catalog) throws(SnapshotTreeError) in
            if let merge = catalog.index.merges[layer] { return merge.digest }
            guard catalog.index.count(listing: layer) > 0 else { return nil }
            return try catalog.lister(of: layer)?.layerDigests[layer]
        }
    }
}

extension Layout {
    /// The digest list of a snapshot's process image, in its directory.
    static let digestsName = "digests"
}

extension Descriptor {
    /// Writes the list of a walk into a file of this directory; the digest of the file. What could not be read is an
    /// error.
    func write(_ walk: DigestWalk, to name: String) throws(SystemError) -> Digest {
        if let failure = walk.unreadable.values.first { throw failure }
        let bytes = walk.list.encoded
        try replaceFile(name, with: bytes, durable: false)
        return Digest(of: bytes)
    }
}
