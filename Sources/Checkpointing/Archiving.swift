import Glibc
import LinuxSystem
import LocalArchive
public import Messages
import SandboxRuntime

extension CheckpointManager {
    public func readArchive(
        sandbox name: String, path: String, owners: Bool, to descriptor: Int32
    ) throws(ErrorMessage) {
        let doing = "copy \(path) out of sandbox \(name)"
        let file = try withFiles(of: name, doing: "copy", path) { (files) throws(SystemError) in
            var resolved = path
            while resolved.count > 1, resolved.hasSuffix("/") { resolved.removeLast() }
            return try files.find(resolved, follow: false).release()
        }
        let handle = Descriptor(owning: file)
        try explaining(doing) {
            try packArchive(
                at: handle.raw, path: path, named: path.split(separator: "/").last.map(String.init) ?? "",
                keepingOwners: owners
            ) { bytes in try Self.send(bytes, to: descriptor) }
        }
    }

    public func writeArchive(
        sandbox name: String, path: String, owners: Bool, from descriptor: Int32
    ) throws(ErrorMessage) -> ArchiveResult {
        let file = try withFiles(of: name, doing: "copy into", path) { (files) throws(SystemError) in
            try files.place(path).release()
        }
        let directory = Descriptor(owning: file)
        return try explaining("copy into \(path) of sandbox \(name)") {
            ArchiveResult(
                leftOut: try unpackArchive(
                    from: { try Self.receive(from: descriptor) }, keepingOwners: owners, into: directory.raw))
        }
    }

    static func receive(from descriptor: Int32) throws -> [UInt8] {
        var failure: SystemError?
        let bytes = [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
            do throws(SystemError) {
                count = try retrying("read") { Glibc.read(descriptor, buffer.baseAddress, 65536) }
            } catch { failure = error }
        }
        if let failure { throw failure }
        return bytes
    }

    static func send(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) throws(SystemError) {
        var sent = 0
        while sent < bytes.count {
            let from = sent
            sent += try retrying("write") {
                Glibc.write(descriptor, bytes.baseAddress! + from, bytes.count - from)
            }
        }
    }

    private func explaining<Result>(_ what: String, _ body: () throws -> Result) throws(ErrorMessage)
        -> Result
    {
        do { return try body() } catch let error as ErrorMessage { throw error } catch let error
            as SystemError
        {
            throw .file(error, "cannot \(what)")
        } catch {
            throw ErrorMessage(.internal, "cannot \(what)", cause: "\(error)")
        }
    }
}
