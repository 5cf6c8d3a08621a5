import CLinux
import Glibc
import LinuxSystem
import LocalArchive
public import Messages
import SandboxRuntime

extension CheckpointManager {
    public func readArchive(sandbox name: String, path: String, to descriptor: Int32) throws(ErrorMessage) {
        let running = try find(name).running(for: "copy from it")
        try Self.checkAbsolute(path)
        try insideRoot(of: running.process, doing: "copy \(path) out of sandbox \(name)") {
            var resolved = path
            while resolved.count > 1, resolved.hasSuffix("/") { resolved.removeLast() }
            _ = try FileStatus(resolved, follow: false)
            let top = resolved.split(separator: "/").last.map(String.init) ?? ""
            try packArchive(of: resolved, named: top) { bytes in
                try Self.send(bytes, to: descriptor)
            }
        }
    }

    public func writeArchive(sandbox name: String, path: String, from descriptor: Int32) throws(ErrorMessage)
    {
        let running = try find(name).running(for: "copy into it")
        try Self.checkAbsolute(path)
        try insideRoot(of: running.process, doing: "copy into \(path) of sandbox \(name)") {
            guard try FileStatus(path).isDirectory else {
                throw SystemError(call: "open", code: ENOTDIR, subject: path)
            }
            _ = try unpackArchive(from: { try Self.receive(from: descriptor) }, into: path)
        }
    }

    private static func checkAbsolute(_ path: String) throws(ErrorMessage) {
        guard path.hasPrefix("/"), !path.contains("\0") else {
            throw ErrorMessage(.badValue, "the path \"\(path)\" is not absolute")
        }
    }

    private static func receive(from descriptor: Int32) throws -> [UInt8] {
        var failure: SystemError?
        let bytes = [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
            do throws(SystemError) {
                count = try retrying("read") { Glibc.read(descriptor, buffer.baseAddress, 65536) }
            } catch { failure = error }
        }
        if let failure { throw failure }
        return bytes
    }

    private static func send(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) throws {
        var sent = 0
        while sent < bytes.count {
            let from = sent
            sent += try retrying("write") {
                Glibc.write(descriptor, bytes.baseAddress! + from, bytes.count - from)
            }
        }
    }

    /// Runs `body` on a thread whose root directory is the sandbox's, so that no path and no symbolic link in it
    /// leads out (chroot(2) and its root are a thread's own after unshare(CLONE_FS)).
    private func insideRoot(
        of process: SandboxProcess, doing what: String, _ body: @escaping @Sendable () throws -> Void
    ) throws(ErrorMessage) {
        let outcome = Monitor<Result<Void, ErrorMessage>?>(nil)
        let pid = process.pid
        startThread {
            let result: Result<Void, ErrorMessage>
            do {
                try retrying("chroot", "/proc/\(pid)/root") { clinux_enter_root("/proc/\(pid)/root") }
                try body()
                result = .success(())
            } catch let error as SystemError {
                let code: ErrorMessage.Code = error.code == ENOENT ? .notFound : RuntimeError.kind(error.code)
                result = .failure(ErrorMessage(code, "cannot \(what)", cause: error.reason))
            } catch {
                result = .failure(ErrorMessage(.internal, "cannot \(what)", cause: "\(error)"))
            }
            outcome.with(wake: true) { $0 = result }
        }
        try outcome.wait { $0 }!.get()
    }
}
