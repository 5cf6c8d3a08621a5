import Glibc
import LinuxSystem

/// What the sandbox would see of an overlay if its upper were empty; mounted when somebody asks.
final class LowerView {
    private let lowers: [String]
    private var root: Int32 = -1
    private let attributes = ExtendedAttributes()

    init(_ lowers: [String]) { self.lowers = lowers }
    deinit { if root >= 0 { close(root) } }

    private func descriptor() throws(SystemError) -> Int32 {
        if root >= 0 { return root }
        var kept: [String] = []
        for lower in lowers where (try? Files.isEmpty(lower)) == false { kept.append(lower) }
        // An overlay without an upper wants two.
        switch kept.count {
        case 0: throw SystemError(call: "open", code: ENOENT, subject: "the lower directories")
        case 1: root = try Descriptor.directory(kept[0]).release()
        default: root = try Mount.overlay(lowers: kept, attributes: .readOnly).release()
        }
        return root
    }

    /// The directory that holds the last name of a path; nil where there is none.
    private func holder(of path: [[UInt8]]) throws(SystemError) -> Descriptor? {
        guard (try? descriptor()) != nil else { return nil }
        do throws(SystemError) {
            var directory = try openDirectory([UInt8(ascii: ".")], in: try descriptor())
            for name in path.dropLast() { directory = try openDirectory(name, in: directory.raw) }
            return directory
        } catch {
            if error.isMissing || error.code == ENOTDIR || error.code == ELOOP { return nil }
            throw error
        }
    }

    /// What is there, without a regular file's bytes; nil where there is nothing.
    func entry(_ path: [[UInt8]]) throws(SystemError) -> UpperEntry? {
        guard let directory = try holder(of: path) else { return nil }
        let name = path[path.count - 1]
        do throws(SystemError) { return try read(name, in: directory.raw, withContent: false) } catch {
            if error.isMissing { return nil }
            throw error
        }
    }

    /// The same with its bytes; it must be there.
    func whole(_ path: [[UInt8]]) throws(SystemError) -> UpperEntry {
        guard let directory = try holder(of: path) else { throw SystemError(call: "open", code: ENOENT) }
        return try read(path[path.count - 1], in: directory.raw, withContent: true)
    }

    /// What a directory holds.
    func children(_ path: [[UInt8]]) throws(SystemError) -> [[UInt8]: UpperEntry] {
        guard let holder = try holder(of: path),
            let directory = try? openDirectory(path[path.count - 1], in: holder.raw)
        else { return [:] }
        var names: [[UInt8]] = []
        try DirectoryEntries(of: directory).forEach { (name, _) throws(SystemError) in
            names.append(bytes(of: name))
        }
        var children: [[UInt8]: UpperEntry] = [:]
        for name in names { children[name] = try read(name, in: directory.raw, withContent: false) }
        return children
    }

    private func read(
        _ name: [UInt8], in directory: Int32, withContent: Bool
    ) throws(SystemError) -> UpperEntry {
        let status = try entryStatus(name, in: directory)
        let path = name.map { CChar(bitPattern: $0) } + [0]
        let own = try path.withUnsafeBufferPointer { (name) throws(SystemError) in
            try attributes.all(of: .entry(name.baseAddress!, in: directory))
        }
        var content = FileContent.empty
        switch status.st_mode & S_IFMT {
        case S_IFREG where withContent && status.st_size > 0:
            let file = Descriptor(
                owning: try retrying("openat", printable(path)) {
                    openat(directory, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
                })
            content = try FileContent(of: file, size: Int(status.st_size), blocks: Int(status.st_blocks))
        case S_IFLNK:
            var target = [UInt8](repeating: 0, count: 4096)
            let length = try retrying("readlinkat", printable(path)) {
                target.withUnsafeMutableBytes { buffer in
                    readlinkat(
                        directory, path, buffer.baseAddress!.assumingMemoryBound(to: CChar.self), buffer.count
                    )
                }
            }
            content = FileContent(target: Array(target.prefix(length)))
        default: break
        }
        return UpperEntry(status, attributes: own, content: content, liesBelow: true)
    }
}
