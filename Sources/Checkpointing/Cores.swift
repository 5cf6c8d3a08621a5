import CriuImages
import Glibc
import LinuxSystem
public import Messages
import SnapshotTree

extension CheckpointManager {
    /// Writes an ELF core file of one process of a snapshot to `descriptor`.
    ///
    /// Without a pid the process that crashed is meant, in a snapshot that a crash made.
    public func core(_ reference: String, pid: Int?, to descriptor: Int32) throws(ErrorMessage) {
        let record = try resolve(reference)
        let crash = record.manifest.crash
        guard let wanted = pid ?? crash?.pid else {
            throw ErrorMessage(
                .badRequest, "no process was named, and snapshot \(record.id) was not made by a crash",
                hint: "--pid, with a pid that ckpt inspect \(record.id) shows")
        }
        let signal = crash.flatMap { $0.pid == wanted ? FatalSignal($0) : nil }
        // Whoever reads has left: nobody to tell.
        var failure: SystemError?
        try reading(record.id) { (_, images, files) throws(CriuImageError) -> Void? in
            let process = try images.processes().first { Int($0.pid) == wanted && $0.state != .zombie }
            guard let process else { return nil }
            let memory = try ProcessMemory(of: process.pid, in: images, files: files)
            let core = try CoreFile(of: process, memory, in: images, signal: signal)
            do throws(SystemError) {
                try core.write { (bytes) throws(SystemError) in try Self.send(bytes, to: descriptor) }
            } catch { failure = error }
            return ()
        } orElse: { (record) throws(ErrorMessage) in
            throw .noProcess(wanted, in: record.id)
        }
        if let failure, failure.code != EPIPE {
            throw ErrorMessage(.internal, "the core file cannot be written", cause: failure.reason)
        }
    }

    /// Writes a regular file of a snapshot's root filesystem to `descriptor`; no symbolic link is followed.
    public func readSnapshotFile(
        _ reference: String, path: String, to descriptor: Int32
    ) throws(ErrorMessage) {
        let record = try resolve(reference)
        try leasing(record) { () throws(ErrorMessage) in
            let files = try files(of: record)
            let piece = 1 << 20
            var offset: UInt64 = 0
            while true {
                guard let bytes = files.read(path, offset: offset, count: piece) else {
                    throw ErrorMessage(.notFound, "snapshot \(record.id) has no regular file \(path)")
                }
                var failure: SystemError?
                bytes.withUnsafeBytes { bytes in
                    do throws(SystemError) { try Self.send(bytes, to: descriptor) } catch { failure = error }
                }
                if failure?.code == EPIPE { return }
                if let failure {
                    throw ErrorMessage(.internal, "\(path) cannot be sent", cause: failure.reason)
                }
                offset += UInt64(bytes.count)
                if bytes.count < piece { return }
            }
        }
    }
}

extension FatalSignal {
    init(_ crash: CrashInfo) {
        self.init(
            number: Int32(clamping: crash.signal), code: Int32(clamping: crash.code),
            thread: Int32(clamping: crash.thread), address: crash.address)
    }
}
