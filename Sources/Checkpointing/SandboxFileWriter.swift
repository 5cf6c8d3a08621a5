import Glibc
import LinuxSystem
import Messages
import SandboxRuntime

/// One file of a sandbox that is being written from outside.
final class SandboxFileWriter: FileWriting {
    private let file: Descriptor
    private let path: String
    private let name: String
    /// Where a file that is replaced in one step grows: its directory and its name until then.
    private let staged: (directory: Int32, name: String)?
    private var isFinished = false
    /// What has come of a body that may be small; nil once it is written as it comes.
    ///
    /// A small file is written when all of it is there, and cut afterwards: a body that breaks off has changed
    /// nothing, and ext4 flushes a file to disk that is cut to nothing and closed (auto_da_alloc, ext4(5)).
    private var held: [UInt8]?
    private static let smallFile = 64 << 10

    /// Opens or makes the file. Owner and mode are set before the first byte is written.
    init(
        _ path: String, _ options: WriteOptions, owner: SandboxUser?, in files: borrowing SandboxFiles
    ) throws(SystemError) {
        self.path = path
        name = SandboxFiles.name(of: path)
        let isNew: Bool
        if options.isAtomic {
            guard name != ".", name != ".." else {
                throw SystemError(call: "open", code: EISDIR, subject: path)
            }
            let directory = try files.directory(of: path)
            let number = directory.raw
            let temporary = ".ckpt-" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
            file = try Descriptor.open(
                temporary, below: directory, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
            isNew = true
            staged = (try retrying("fcntl") { fcntl(number, F_DUPFD_CLOEXEC, 3) }, temporary)
        } else {
            // The umask of the server is not the sandbox's affair: the mode is set below.
            let opened = try files.write(path, options.appends ? O_APPEND : 0, mode: 0o600)
            file = Descriptor(owning: opened.raw)
            isNew = opened.isNew
            staged = nil
            held = options.appends || isNew ? nil : []
        }
        let number = file.raw
        if let owner { try retrying("fchown", path) { fchown(number, owner.uid, owner.gid) } }
        // After the owner, whose change drops the set-uid bits (chown(2)).
        if let mode = options.mode ?? (isNew ? 0o644 : nil) {
            try retrying("fchmod", path) { fchmod(number, mode_t(mode)) }
        }
    }

    deinit {
        guard let staged else { return }
        if !isFinished { unlinkat(staged.directory, staged.name, 0) }
        close(staged.directory)
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws(ErrorMessage) {
        guard var small = held else { return try writeOut(bytes) }
        held = nil
        small += bytes
        if small.count <= Self.smallFile {
            held = small
            return
        }
        try cut(to: 0)
        try writeOut(small)
    }

    private func writeOut(_ bytes: [UInt8]) throws(ErrorMessage) {
        let result: Result<Void, ErrorMessage> = bytes.withUnsafeBytes { bytes in
            do throws(ErrorMessage) { return .success(try writeOut(bytes)) } catch { return .failure(error) }
        }
        try result.get()
    }

    private func cut(to size: Int) throws(ErrorMessage) {
        let number = file.raw
        do throws(SystemError) { try retrying("ftruncate", path) { ftruncate(number, off_t(size)) } } catch {
            throw .file(error, "cannot write \(path)")
        }
    }

    private func writeOut(_ bytes: UnsafeRawBufferPointer) throws(ErrorMessage) {
        let number = file.raw
        var sent = 0
        while sent < bytes.count {
            let from = sent
            do throws(SystemError) {
                sent += try retrying("write", path) {
                    Glibc.write(number, bytes.baseAddress! + from, bytes.count - from)
                }
            } catch { throw .file(error, "cannot write \(path)") }
        }
    }

    func finish() throws(ErrorMessage) -> FileInfo {
        if let held {
            try writeOut(held)
            try cut(to: held.count)
        }
        do throws(SystemError) {
            if let staged {
                try retrying("renameat", path) {
                    renameat(staged.directory, staged.name, staged.directory, name)
                }
            }
            isFinished = true
            return try FileInfo(file.raw, [0], named: Array(name.utf8))
        } catch { throw .file(error, "cannot write \(path)") }
    }
}
