import Glibc
import LinuxSystem

/// What directories and files of the store take, and what comes free when they go one after the other.
///
/// A file comes free with the last of its links (du(1) and the kernel count so), wherever the others were: a pages
/// file that a child inherits stays as long as the child does.
struct StoreLedger {
    private struct Entry {
        /// Bytes that come free whatever else stays.
        var own: Int64 = 0
        /// Files with links elsewhere, and how many of the links this entry has.
        var linked: [(inode: ino_t, found: UInt64)] = []
    }
    private var entries: [String: Entry] = [:]
    private var links: [ino_t: (bytes: Int64, left: UInt64)] = [:]
    /// Bytes on disk of all that was added and has not come free, each file counted once.
    private(set) var storedBytes: Int64 = 0

    /// Counts a directory with all below it; one that is not there takes nothing.
    mutating func add(directory path: String) {
        let holding = Holding.of(path)
        var entry = Entry(own: holding.directories)
        for (inode, file) in holding.files {
            if file.found >= file.links { entry.own += file.bytes } else { link(inode, file, to: &entry) }
        }
        storedBytes += entry.own
        entries[path] = entry
    }

    /// Counts one file.
    mutating func add(file path: String) {
        guard let bytes = Self.bytesOnDisk(of: path) else { return }
        storedBytes += bytes
        entries[path] = Entry(own: bytes)
    }

    private mutating func link(
        _ inode: ino_t, _ file: (bytes: Int64, links: UInt64, found: UInt64), to entry: inout Entry
    ) {
        entry.linked.append((inode, file.found))
        if links[inode] == nil {
            links[inode] = (file.bytes, file.links)
            storedBytes += file.bytes
        }
    }

    /// Takes an entry away and returns the bytes that come free with it; 0 for one that was not added.
    mutating func remove(_ path: String) -> Int64 {
        guard let entry = entries.removeValue(forKey: path) else { return 0 }
        var freed = entry.own
        for (inode, found) in entry.linked {
            guard let link = links[inode] else { continue }
            if link.left <= found {
                freed += link.bytes
                links[inode] = nil
            } else {
                links[inode]!.left -= found
            }
        }
        storedBytes -= freed
        return freed
    }

    /// Bytes on disk of a file that has one link; nil where there is none.
    static func bytesOnDisk(of path: String) -> Int64? {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        return Int64(status.st_blocks) * 512
    }
}
