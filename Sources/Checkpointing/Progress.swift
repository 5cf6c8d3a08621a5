import Glibc
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree
import Telemetry

extension CheckpointManager {
    /// Runs an operation on one sandbox, of which readers of events are told how far it has come.
    func working<Result>(
        _ operation: String, on sandbox: LiveSandbox, _ body: () throws(ErrorMessage) -> Result
    ) throws(ErrorMessage) -> Result {
        let work = telemetry.began(operation, sandbox: sandbox.name)
        sandbox.with { $0.work = work }
        defer {
            sandbox.with { $0.work = nil }
            work.end()
        }
        return try body()
    }

    /// How many bytes a verification of these snapshots reads, about: what they share is read once.
    static func bytesToRead(_ records: [SnapshotTree.Record]) -> Int64 {
        var layers: [String: Int64] = [:]
        var bytes: Int64 = 0
        for record in records {
            let manifest = record.manifest
            bytes += manifest.processBytes
            if let layer = manifest.ownLayer { layers[layer] = manifest.layerTotalBytes }
        }
        return layers.values.reduce(bytes, +)
    }
}

extension LiveSandbox {
    /// The part of the operation under way that begins now.
    func phase(_ name: String, in unit: ProgressUnit = .items, _ look: LongOperation.Look? = nil) {
        with { $0.work }?.phase(name, in: unit, look)
    }

    /// CRIU writes the memory of `process` into `directory`.
    func dumping(_ process: SandboxProcess, into directory: String) {
        phase("memory", in: .bytes) {
            let names = (try? Files.names(in: directory)) ?? []
            let done = names.reduce(Int64(0)) { sum, name in
                guard name.hasPrefix("pages-") else { return sum }
                return sum + ((try? FileStatus("\(directory)/\(name)").size) ?? 0)
            }
            return (done, process.memoryOfItsOwn())
        }
    }

    /// The files of an upper directory are copied; `copied` counts bytes on disk.
    func copying(_ upper: String, counting copied: WorkCount) {
        // Counted by who looks, once somebody does: not by the sandbox's own time.
        let size = Monitor<LayerCapture.Size??>(nil)
        phase("files", in: .bytes) {
            let size = size.with { size in
                if size == nil {
                    size = .some(try? LayerCapture.measure(upper: upper, entryLimit: Self.countedFiles))
                }
                return size!
            }
            return (copied.value, size.flatMap { $0.isComplete ? $0.bytes : nil })
        }
    }

    /// Of more files than this the size is not looked up for a bar.
    private static var countedFiles: Int { 100_000 }

    /// CRIU brings the memory of a snapshot back into the tree below `pid`.
    func refilling(_ pid: Int32, from snapshot: SnapshotTree.Record) {
        guard let work = with({ $0.work }), let process = try? SandboxProcess(pid: pid) else { return }
        let total = snapshot.manifest.memory.map { $0.totalBytes - $0.zeroBytes }
        work.phase("memory", in: .bytes) { (process.memoryOfItsOwn(), total) }
    }
}

extension LongOperation {
    /// What makes the parts of the store's work its own.
    var watch: WorkWatch {
        { phase, unit, done, total in self.phase(phase, in: unit) { (done.value, total) } }
    }
}
