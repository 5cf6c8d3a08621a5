import Digests
import Glibc
import LinuxSystem
import Messages

/// How the last one who worked on a store came to its end.
enum LastSession: Equatable {
    /// In order: everything was flushed and nothing has to be looked for. The digest of the catalog then, where it is
    /// known: SQLite has none of its own, and takes a flipped bit for what was written.
    case closed(catalog: Digest?)
    /// It was killed; what it wrote is in the kernel's page cache or on the disk.
    case killed
    /// With the machine, under this durability: what was not flushed may be gone, in any part.
    case machineWentDown(Durability)

    var isInOrder: Bool {
        if case .closed = self { return true }
        return false
    }
}

extension Layout {
    private static let session = "session"
    private static let closed = "closed"

    /// Writes down that somebody works on the store, and tells how the last one ended.
    func beginSession(_ durability: Durability) throws(SnapshotTreeError) -> LastSession {
        try wrapping { () throws(SystemError) in
            let boot =
                String(decoding: try Flusher.bootID(), as: UTF8.self).split(separator: "\n").first ?? ""
            let last = Self.read(
                (try? Descriptor.open(Self.session, below: rootDirectory, O_RDONLY).readAll()) ?? [], boot)
            if last == .killed, durability != .none { try retrying("syncfs") { syncfs(rootDirectory.raw) } }
            try rootDirectory.replaceFile(
                Self.session, with: Array("\(boot)\n\(durability.rawValue)\n".utf8), durable: true)
            return last
        }
    }

    private static func read(_ bytes: [UInt8], _ boot: Substring) -> LastSession {
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
        guard let first = lines.first else { return .closed(catalog: nil) }
        if first == closed { return .closed(catalog: lines.dropFirst().first.flatMap { Digest($0) }) }
        if first == boot { return .killed }
        // One that cannot be read promised nothing.
        return .machineWentDown(lines.dropFirst().first.flatMap { Durability(rawValue: String($0)) } ?? .none)
    }

    /// Writes down that everything is flushed, the catalog's journal is empty and the work is over.
    func endSession() throws(SystemError) {
        let digest = try catalogDigest().map { "\($0)\n" } ?? ""
        try rootDirectory.replaceFile(
            Self.session, with: Array("\(Self.closed)\n\(digest)".utf8), durable: true)
    }

    /// The digest of the catalog's file; nil where there is none.
    private func catalogDigest() throws(SystemError) -> Digest? {
        do throws(SystemError) { return Digest(of: try Files.read(catalogPath)) } catch {
            if error.isMissing { return nil }
            throw error
        }
    }

    /// Throws `damaged` where the catalog is another one than the last session left.
    func checkCatalog(_ last: LastSession) throws(SnapshotTreeError) {
        guard case .closed(let digest?) = last else { return }
        let now = try wrapping { () throws(SystemError) in try catalogDigest() }
        if let now, now != digest {
            throw .damaged(what: "the catalog", reason: "it is not what it was when the store was closed")
        }
    }

    /// The published snapshots that nobody has flushed, by whether it was this run of the machine that wrote them.
    func unflushed() throws(SnapshotTreeError) -> (ours: [String], others: [String]) {
        let boot = try wrapping { () throws(SystemError) in try Flusher.bootID() }
        var (ours, others): ([String], [String]) = ([], [])
        for id in try publishedNames().filter(Identifier.isValid).sorted()
        where faccessat(snapshots.raw, "\(id)/\(Flusher.durableName)", F_OK, 0) != 0 {
            if (try? Files.read("\(snapshotPath(id))/\(Flusher.bootName)")) == boot {
                ours.append(id)
            } else {
                others.append(id)
            }
        }
        return (ours, others)
    }

    /// Sorts out the snapshots that the machine went down with before they were flushed.
    ///
    /// Each is read and compared with its digests. Those of which nothing is amiss are on the disk, so they are durable
    /// from now on; the others go to `staging/`, from where they are swept.
    func settle(_ ids: [String]) throws(SnapshotTreeError) -> (kept: [String], dropped: [String]) {
        var survey = Survey(self)
        var (kept, dropped): ([String], [String]) = ([], [])
        for id in ids {
            if survey.isWhole(id), (try? Flusher.markDurable(id, in: self)) != nil {
                kept.append(id)
            } else if renameat(snapshots.raw, id, staging.raw, id) == 0 {
                dropped.append(id)
            }
        }
        return (kept, dropped)
    }
}

/// Finds out by their digests alone whether snapshots are whole; the catalog is not asked.
private struct Survey {
    private let layout: Layout
    private var layers: [String: Bool] = [:]
    private var contents: [DigestWalk.Inode: Digest] = [:]

    init(_ layout: Layout) { self.layout = layout }

    mutating func isWhole(_ id: String) -> Bool {
        guard let manifest = try? layout.manifest(of: id), manifest.id == id else { return false }
        let place = layout.snapshotPath(id)
        guard
            isWhole(
                "\(place)/process", "\(place)/\(Layout.digestsName)", manifest.processDigest, times: false)
        else { return false }
        for layer in manifest.layers {
            let known = layers[layer]
            let isGood =
                known
                ?? isWhole(
                    layout.layerPath(layer), layout.digestsPath(ofLayer: layer), manifest.layerDigests[layer],
                    times: true)
            layers[layer] = isGood
            if !isGood { return false }
        }
        return true
    }

    private mutating func isWhole(_ path: String, _ list: String, _ digest: Digest?, times: Bool) -> Bool {
        guard let stored = try? Files.read(list), Digest(of: stored) == digest,
            let list = DigestList(stored), let root = try? Descriptor.directory(path),
            let walk = try? DigestWalk.read(root, keepsTimes: times, contents: contents)
        else { return false }
        contents = walk.contents
        return walk.unreadable.isEmpty && list.differences(from: walk.list).isEmpty
    }
}
