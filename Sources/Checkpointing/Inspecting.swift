import CriuImages
import LinuxSystem
public import Messages
import SnapshotTree

extension CheckpointManager {
    /// What a snapshot's process image holds.
    public func inspect(_ reference: String, _ request: InspectRequest) throws(ErrorMessage) -> Inspection {
        try reading(reference) { (record, images, files) throws(CriuImageError) in
            try images.inspect(
                record.id, scope: InspectionScope(request), files: files,
                hostBoottime: record.manifest.hostBoottime)
        } orElse: { (record) throws(ErrorMessage) in
            throw .noProcess(request.pid ?? 0, in: record.id)
        }
    }

    /// Opens a snapshot's images for the time of `body`, while nobody can delete it, once they were found whole; nil from `body` is what
    /// `orElse` throws about.
    func reading<Result>(
        _ reference: String,
        _ body: (SnapshotTree.Record, borrowing ImageDirectory, SnapshotFiles) throws(CriuImageError) ->
            Result?,
        orElse missing: (SnapshotTree.Record) throws(ErrorMessage) -> Never
    ) throws(ErrorMessage) -> Result {
        let record = try resolve(reference)
        let result: Result? = try leasing(record) { () throws(ErrorMessage) in
            guard record.manifest.processes > 0 else {
                throw ErrorMessage(
                    .notFound, "snapshot \(record.id) holds files alone: there are no processes in it")
            }
            let files = try files(of: record)
            try mapping { () throws(SnapshotTreeError) in try store.checkProcess(record) }
            do throws(CriuImageError) {
                return try body(record, ImageDirectory(store.processPath(record.id)), files)
            } catch {
                throw ErrorMessage(
                    .internal, "snapshot \(record.id) cannot be read",
                    hint: "ckpt verify tells what is damaged",
                    cause: error.description)
            }
        }
        if let result { return result }
        try missing(record)
    }
}

extension ErrorMessage {
    static func noProcess(_ pid: Int, in snapshot: String) -> ErrorMessage {
        ErrorMessage(
            .notFound, "snapshot \(snapshot) has no process \(pid)",
            hint: "ckpt inspect \(snapshot) shows its processes, by the pids they have inside the sandbox")
    }
}

extension InspectionScope {
    /// Everything where no part is asked for by name.
    init(_ request: InspectRequest) {
        self.init(pid: request.pid.map { Int32(clamping: $0) })
        let named = [request.files, request.memory, request.sockets, request.environment, request.registers]
        guard named.contains(true) else { return }
        files = request.files || request.sockets
        onlySockets = request.sockets && !request.files
        regions = request.memory
        environment = request.environment
        registers = request.registers
    }
}
