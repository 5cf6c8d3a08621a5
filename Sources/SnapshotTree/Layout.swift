import CLinux
import Glibc
import LinuxSystem
import Messages

/// The directories and files of a store, and the lock that makes this process its only user.
final class Layout: Sendable {
    /// The store's absolute path, as it was given.
    let root: String
    let rootDirectory: Descriptor
    let layers: Descriptor
    let snapshots: Descriptor
    let staging: Descriptor
    /// The digest list of each layer, by its id.
    let digests: Descriptor
    /// What each merged layer was made of, by its id.
    let merges: Descriptor
    private let lock: Descriptor
    /// How long to wait for the lock, in nanoseconds.
    private static let lockPatience: UInt64 = 2_000_000_000

    /// Makes what is missing, takes the lock and checks the format.
    init(root: String) throws(SnapshotTreeError) {
        var root = root
        while root.count > 1, root.hasSuffix("/") { root.removeLast() }
        self.root = root
        try wrapping { () throws(SystemError) in try Self.makeDirectories(root) }
        rootDirectory = try wrapping { () throws(SystemError) in try Descriptor.directory(root) }
        lock = try Self.takeLock(below: rootDirectory, root: root)
        try Self.checkFormat(below: rootDirectory, root: root)
        layers = try Self.subdirectory("layers", below: rootDirectory)
        snapshots = try Self.subdirectory("snapshots", below: rootDirectory)
        staging = try Self.subdirectory("staging", below: rootDirectory)
        digests = try Self.subdirectory("digests", below: rootDirectory)
        merges = try Self.subdirectory("merges", below: rootDirectory)
        Files.spreadSubdirectories(of: staging)
    }

    var catalogPath: String { "\(root)/catalog.sqlite" }
    func layerPath(_ id: String) -> String { "\(root)/layers/\(id)" }
    func digestsPath(ofLayer id: String) -> String { "\(root)/digests/\(id)" }
    func snapshotPath(_ id: String) -> String { "\(root)/snapshots/\(id)" }
    func stagingPath(_ id: String) -> String { "\(root)/staging/\(id)" }

    /// Removes every directory of `staging/` but the live ones, and with nil for those but trash, which can wait; returns
    /// names and bytes freed.
    func sweepStaging(except live: LiveStagings?) throws(SystemError) -> (names: [String], bytes: Int64) {
        var swept: [String] = []
        var bytes: Int64 = 0
        let names = try DirectoryEntries(of: staging).names()
        // Asked after the listing: a staging is live before its directory exists.
        let kept = live?.snapshots
        for name in names where !(kept?.contains(name) ?? name.hasPrefix(Self.trashPrefix)) {
            // What cannot be removed now is out of everybody's sight, and there is a next time.
            guard let freed = try? TreeRemoval.remove(name, below: staging) else { continue }
            bytes += freed
            swept.append(name)
        }
        return (swept.sorted(), bytes)
    }

    private static func makeDirectories(_ path: String) throws(SystemError) {
        if mkdir(path, 0o700) == 0 || errno == EEXIST { return }
        guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else {
            throw .last("mkdir", path)
        }
        try makeDirectories(String(path[..<slash]))
        try retrying("mkdir", path) { mkdir(path, 0o700) }
    }

    private static func subdirectory(
        _ name: String, below root: borrowing Descriptor
    ) throws(SnapshotTreeError) -> Descriptor {
        do throws(SystemError) {
            if mkdirat(root.raw, name, 0o700) != 0, errno != EEXIST {
                throw SystemError.last("mkdirat", name)
            }
            let directory = try Descriptor.open(name, below: root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
            try retrying("fchmod", name) { fchmod(directory.raw, 0o700) }
            // A default ACL would be inherited by everything captured below.
            _ = fremovexattr(directory.raw, "system.posix_acl_default")
            return directory
        } catch {
            throw SnapshotTreeError(error)
        }
    }

    private static func takeLock(
        below root: borrowing Descriptor, root path: String
    ) throws(SnapshotTreeError) -> Descriptor {
        let lock = try wrapping { () throws(SystemError) -> Descriptor in
            try Descriptor.open("lock", below: root, O_RDWR | O_CREAT | O_NOFOLLOW)
        }
        // A process that the last owner was just starting holds the lock too, until its execve(2).
        let deadline = monotonicNanoseconds() + lockPatience
        while flock(lock.raw, LOCK_EX | LOCK_NB) != 0 {
            guard monotonicNanoseconds() < deadline else { throw .storeInUse(root: path) }
            usleep(10_000)
        }
        return lock
    }

    private static func checkFormat(
        below root: borrowing Descriptor, root path: String
    ) throws(SnapshotTreeError) {
        let current = "\(Product.storeFormat)"
        let found: String?
        do {
            let bytes = try Descriptor.open("format", below: root, O_RDONLY).read(upTo: 64)
            let text = String(decoding: bytes, as: UTF8.self)
            found = text.hasSuffix("\n") ? String(text.dropLast()) : text
        } catch {
            guard error.isMissing else { throw SnapshotTreeError(error) }
            found = nil
        }
        if let found, found != current {
            throw .versionMismatch(what: "the store \(path)", found: found, expected: current)
        }
        if found == nil {
            do {
                try root.replaceFile("format", with: Array("\(current)\n".utf8), durable: true)
            } catch { throw SnapshotTreeError(error) }
        }
    }
}

extension Descriptor {
    /// Replaces the file `name` below this directory by one rename, so that a reader sees the old or the new.
    func replaceFile(_ name: String, with bytes: [UInt8], durable: Bool) throws(SystemError) {
        let temporary = ".\(name).new"
        do {
            let file = try Descriptor.open(
                temporary, below: self, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode: 0o600)
            try file.writeAll(bytes)
            if durable { try file.synchronize() }
            try retrying("renameat", name) { renameat(raw, temporary, raw, name) }
            if durable { try synchronize() }
        } catch {
            unlinkat(raw, temporary, 0)
            throw error
        }
    }
}
