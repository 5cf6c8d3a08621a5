import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime

/// Single files of a running sandbox: small ones cost a few system calls.
extension CheckpointManager {
    private static let listingLimit = 100_000

    public func openFile(_ name: String, path: String, offset: UInt64) throws(ErrorMessage) -> Int32 {
        try withFiles(of: name, doing: "read", path) { (files) throws(SystemError) in
            let file = try files.read(path)
            if offset > 0 {
                let number = file.raw
                try retrying("lseek", path) { lseek(number, off_t(clamping: offset), SEEK_SET) }
            }
            return file.release()
        }
    }

    public func writeFile(
        _ name: String, path: String, _ options: WriteOptions
    ) throws(ErrorMessage) -> any FileWriting {
        guard !path.hasSuffix("/") else { throw ErrorMessage(.badValue, "\(path) names a directory") }
        guard !(options.isAtomic && options.appends) else {
            throw ErrorMessage(.badValue, "a file that is replaced in one step cannot be appended to")
        }
        if let mode = options.mode, mode > 0o7777 {
            throw ErrorMessage(.badValue, "the mode is \(String(mode, radix: 8))", hint: "0 to 7777, octal")
        }
        let pid = try find(name).running(for: "write a file", evenPaused: true, sparesShell: true)
            .process.pid
        var owner: SandboxUser?
        do throws(CommandError) {
            if let user = options.user { owner = try SandboxUser.find(user, inSandboxOf: pid) }
        } catch { throw error.message }
        return try withFiles(of: name, doing: "write", path) { (files) throws(SystemError) in
            if options.makesParents { try files.makeParents(of: path) }
            return try SandboxFileWriter(path, options, owner: owner, in: files)
        }
    }

    public func fileInfo(_ name: String, path: String, follow: Bool) throws(ErrorMessage) -> FileInfo {
        try withFiles(of: name, doing: "look at", path) { (files) throws(SystemError) in
            let handle = try files.find(path, follow: follow)
            return try FileInfo(handle.raw, "", named: Array(SandboxFiles.name(of: path).utf8))
        }
    }

    public func directory(_ name: String, path: String) throws(ErrorMessage) -> DirectoryListing {
        try withFiles(of: name, doing: "list", path) { (files) throws(SystemError) in
            let number = try files.list(path).release()
            guard let stream = fdopendir(number) else {
                let error = SystemError.last("fdopendir", path)
                close(number)
                throw error
            }
            defer { closedir(stream) }
            var entries: [(name: [UInt8], info: FileInfo)] = []
            var truncated = false
            while let entry = readdir(stream) {
                let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
                if name == [46] || name == [46, 46] { continue }
                if entries.count == Self.listingLimit {
                    truncated = true
                    break
                }
                // It may have gone since.
                if let info = try? FileInfo(dirfd(stream), name + [0], named: name) {
                    entries.append((name, info))
                }
            }
            entries.sort { $0.name.lexicographicallyPrecedes($1.name) }
            return DirectoryListing(entries: entries.map(\.info), truncated: truncated)
        }
    }

    func withFiles<Result>(
        of name: String, doing what: String, _ path: String,
        _ body: (borrowing SandboxFiles) throws(SystemError) -> Result
    ) throws(ErrorMessage) -> Result {
        let running = try find(name).running(for: "\(what) a file", evenPaused: true, sparesShell: true)
        guard path.hasPrefix("/"), !path.utf8.contains(0) else {
            throw ErrorMessage(.badValue, "the path \"\(path)\" is not absolute")
        }
        do throws(SystemError) {
            let files = try SandboxFiles(inSandboxOf: running.process.pid)
            return try body(files)
        } catch {
            throw .file(error, "cannot \(what) \(path) in sandbox \(name)")
        }
    }
}

extension ErrorMessage {
    /// A failed access to a file of a sandbox.
    static func file(_ error: SystemError, _ what: String) -> ErrorMessage {
        switch error.code {
        case ENOENT, ESRCH: ErrorMessage(.notFound, what, cause: error.reason)
        case ENXIO:
            ErrorMessage(
                .badValue, what, hint: "exec can use it", cause: "it is a FIFO, a socket or a device")
        case EROFS:
            ErrorMessage(
                .notPermitted, what, hint: "exec writes there with the sandbox's own rights",
                cause: "it is read-only, or a view of the kernel such as /proc")
        case EISDIR, ENOTDIR, ELOOP, ENAMETOOLONG, EEXIST, EINVAL:
            ErrorMessage(.badValue, what, cause: error.reason)
        default:
            ErrorMessage(
                RuntimeError.kind(error.code), what, hint: RuntimeError.remedy(error.code),
                cause: error.reason)
        }
    }
}

extension FileInfo {
    /// What fstatat(2) says of `path` below a directory; of the open file itself when `path` is empty.
    init(_ directory: Int32, _ path: [UInt8], named name: [UInt8]) throws(SystemError) {
        var status = stat()
        try retrying("fstatat") {
            path.withUnsafeBytes {
                fstatat(
                    directory, $0.bindMemory(to: CChar.self).baseAddress!, &status,
                    AT_SYMLINK_NOFOLLOW | Int32(AT_EMPTY_PATH))
            }
        }
        let kind: FileKind =
            switch status.st_mode & S_IFMT {
            case S_IFDIR: .directory
            case S_IFLNK: .symlink
            case S_IFIFO: .fifo
            case S_IFSOCK: .socket
            case S_IFCHR: .characterDevice
            case S_IFBLK: .blockDevice
            default: .file
            }
        let text = String(validating: name, as: UTF8.self)
        self.init(
            name: text, nameBase64: text == nil ? encodeBase64(name) : nil, kind: kind,
            mode: UInt32(status.st_mode & 0o7777), uid: status.st_uid, gid: status.st_gid,
            size: Int64(status.st_size), links: UInt64(status.st_nlink),
            modified: Double(status.st_mtim.tv_sec) + Double(status.st_mtim.tv_nsec) / 1e9)
        guard kind == .symlink else { return }
        var target = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = path.withUnsafeBytes { path in
            target.withUnsafeMutableBytes {
                readlinkat(
                    directory, path.bindMemory(to: CChar.self).baseAddress!,
                    $0.bindMemory(to: CChar.self).baseAddress!, $0.count)
            }
        }
        if count >= 0 { self.target = String(validating: target[..<count], as: UTF8.self) }
    }

    fileprivate init(_ file: Int32, _ path: StaticString, named name: [UInt8]) throws(SystemError) {
        try self.init(file, [0], named: name)
    }
}
