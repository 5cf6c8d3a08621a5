import CriuImages
import Glibc
import LinuxSystem
public import Messages
import SnapshotTree

extension CheckpointManager {
    /// What is different in one snapshot from another: files, processes, descriptors and memory.
    public func diff(_ request: DiffRequest) throws(ErrorMessage) -> SnapshotDiff {
        let (old, new) = (try resolve(request.from), try resolve(request.to))
        return try leasing(old) { () throws(ErrorMessage) in
            try leasing(new) { () throws(ErrorMessage) in
                let (oldFiles, newFiles) = (try files(of: old), try files(of: new))
                var diff = SnapshotDiff(
                    from: old.id, to: new.id, files: [], processes: [], descriptors: [], memory: [])
                do throws(SystemError) {
                    diff.files = try FileComparison.changes(
                        from: oldFiles, to: newFiles, patches: request.patch)
                } catch {
                    throw ErrorMessage(
                        .internal, "the files of \(old.id) and \(new.id) cannot be compared",
                        cause: error.description)
                }
                guard old.manifest.processes > 0 || new.manifest.processes > 0 else { return diff }
                for record in [old, new] where record.manifest.processes > 0 {
                    try mapping { () throws(SnapshotTreeError) in try store.checkProcess(record) }
                }
                do throws(CriuImageError) {
                    let before = try side(old, oldFiles)
                    let after = try side(new, newFiles)
                    try ProcessComparison(before: before, after: after).add(to: &diff)
                } catch {
                    throw ErrorMessage(
                        .internal, "the processes of \(old.id) and \(new.id) cannot be compared",
                        hint: "ckpt verify tells what is damaged", cause: error.description)
                }
                return diff
            }
        }
    }

    private func side(
        _ record: SnapshotTree.Record, _ files: SnapshotFiles
    ) throws(CriuImageError) -> ProcessComparison.Side {
        guard record.manifest.processes > 0 else { return ProcessComparison.Side(processes: [], memory: [:]) }
        let images = try ImageDirectory(store.processPath(record.id))
        var scope = InspectionScope()
        (scope.environment, scope.registers, scope.regions) = (false, false, false)
        let processes = try images.inspect(record.id, scope: scope, files: files)?.processes ?? []
        var memory: [Int: ProcessMemory] = [:]
        for process in processes where process.state != "zombie" {
            memory[process.pid] = try ProcessMemory(of: Int32(process.pid), in: images, files: files)
        }
        return ProcessComparison.Side(processes: processes, memory: memory)
    }
}

/// Compares the files of two snapshots.
enum FileComparison {
    /// What ckpt keeps for itself in a sandbox.
    private static let ownDirectory = Array(".ckpt".utf8CString.dropLast())

    static func changes(
        from old: SnapshotFiles, to new: SnapshotFiles, patches: Bool
    ) throws(SystemError) -> [FileChange] {
        var changes: [FileChange] = []
        let (olds, news) = (old.parts.filter(\.isCaptured), new.parts.filter(\.isCaptured))
        for path in Set(olds.map(\.path) + news.map(\.path)).sorted() {
            let empty = OverlayStack([])
            let before = olds.first { $0.path == path }?.stack ?? empty
            let after = news.first { $0.path == path }?.stack ?? empty
            for difference in try TreeComparison.differences(from: before, to: after, skipped: [ownDirectory])
            {
                let below = displayed(difference.path)
                let whole = "/" + (path.isEmpty ? below : "\(path)/\(below)")
                changes.append(try change(whole, difference, patches: patches))
            }
        }
        return changes.sorted { $0.path < $1.path }
    }

    private static func change(
        _ path: String, _ difference: FileDifference, patches: Bool
    ) throws(SystemError) -> FileChange {
        let kind =
            switch (difference.before, difference.after) {
            case (nil, _): "added"
            case (_, nil): "deleted"
            default: difference.sameContents ? "metadata" : "modified"
            }
        var change = FileChange(
            path: path, change: kind, before: difference.before.map(FileState.init),
            after: difference.after.map(FileState.init))
        if patches, kind != "metadata" { change.patch = try patch(path, difference) }
        return change
    }

    /// The difference of two texts; nil where one of them is none.
    private static func patch(_ path: String, _ difference: FileDifference) throws(SystemError) -> String? {
        guard let old = try TextFile(difference.before), let new = try TextFile(difference.after) else {
            return nil
        }
        return UnifiedDiff(old: old, new: new).text(path: path)
    }
}

extension FileState {
    init(_ side: FileDifference.Side) {
        let types: [mode_t: String] = [
            S_IFREG: "file", S_IFDIR: "directory", S_IFLNK: "symlink", S_IFIFO: "fifo", S_IFSOCK: "socket",
            S_IFCHR: "character device", S_IFBLK: "block device",
        ]
        self.init(
            type: types[side.type] ?? "unknown", mode: Int(side.status.st_mode & 0o7777),
            uid: Int(side.status.st_uid), gid: Int(side.status.st_gid), size: Int64(side.status.st_size),
            target: side.target.map(displayed))
    }
}
