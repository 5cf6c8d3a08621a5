import FoundationEssentials
import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime
import SnapshotTree
import Telemetry

/// Snapshots as archives, to other stores and back.
extension CheckpointManager {
    /// What the store holds, or what a snapshot is made of, its ancestors included where that is asked for.
    public func objects(snapshot reference: String?, withAncestors: Bool) throws(ErrorMessage) -> ObjectList {
        let records: [SnapshotTree.Record]
        if let reference {
            records = try rollout(to: reference, withAncestors: withAncestors)
        } else {
            records = try mapping { () throws(SnapshotTreeError) in try store.snapshots() }
        }
        return ObjectList(
            objects: try mapping { () throws(SnapshotTreeError) in
                try store.objects(of: records, programs: archivePrograms)
            })
    }

    public func exportSnapshot(
        _ reference: String, _ request: ExportRequest, to descriptor: Int32
    ) throws(ErrorMessage) {
        let level = request.level ?? 3
        guard (0...19).contains(level) else {
            throw ErrorMessage(.badValue, "\(level) is no level of compression", hint: "0 for none, 1 to 19")
        }
        let records = try rollout(to: reference, withAncestors: request.withAncestors == true)
        let work = telemetry.began("exportSnapshot", snapshot: records.last?.id)
        defer { work.end() }
        try leasing(records) { () throws(ErrorMessage) in
            try mapping { () throws(SnapshotTreeError) in
                try store.export(
                    records, have: Set(request.have ?? []), programs: archivePrograms, level: level,
                    watch: work.watch
                ) { bytes in try Self.send(bytes, to: descriptor) }
            }
        }
    }

    public func importSnapshots(
        tag: String?, mostBytes: Int64?, from descriptor: Int32
    ) throws(ErrorMessage) -> ImportResult {
        let start = monotonicNanoseconds()
        var bytes: Int64 = 0
        let work = telemetry.began("importSnapshots")
        defer { work.end() }
        let found = try mapping { () throws(SnapshotTreeError) in
            try store.importArchive(
                tag: tag, mostBytes: mostBytes ?? SnapshotTree.mostImportedBytes, programs: archivePrograms,
                watch: work.watch
            ) {
                let piece = try Self.receive(from: descriptor)
                bytes += Int64(piece.count)
                return piece
            }
        }
        known.with { plans in found.imported.forEach { plans.forget($0) } }
        positions.with { positions in found.imported.forEach { positions.forget($0) } }
        var warnings = found.takenTags.map { "the tag \($0) is taken here, and was left out" }
        for id in found.imported { warnings += try misfits(of: try resolve(id), from: found.system) }
        return ImportResult(
            snapshot: found.snapshot, imported: found.imported, known: found.known,
            newObjects: found.newObjects, knownObjects: found.knownObjects, bytes: bytes,
            warnings: warnings.isEmpty ? nil : Self.unique(warnings), durationMs: milliseconds(since: start))
    }

    private var archivePrograms: ArchivePrograms {
        ArchivePrograms(
            needed: { (manifest) throws(SnapshotTreeError) in
                do throws(ErrorMessage) { return [try Ground(manifest: manifest).initID] } catch {
                    throw .badArchive("the manifest of \(manifest.id) does not say what it stands on")
                }
            },
            problem: { id, bytes in InitProgram.problem(of: bytes, id: id) })
    }

    /// The snapshot, after its ancestors where those are asked for.
    private func rollout(
        to reference: String, withAncestors: Bool
    ) throws(ErrorMessage) -> [SnapshotTree.Record] {
        let record = try resolve(reference)
        guard withAncestors else { return [record] }
        return try mapping { () throws(SnapshotTreeError) in try store.rollout(to: record.id) }
    }

    /// What may be in the way of restoring a snapshot here.
    private func misfits(
        of record: SnapshotTree.Record, from system: String
    ) throws(ErrorMessage) -> [String] {
        var warnings: [String] = []
        if let misfit = Machine.current.misfit(of: record.manifest) {
            warnings.append("snapshot \(record.id) does not fit this machine: \(misfit)")
        }
        switch record.spec.base {
        case .directory(let path) where access(path, F_OK) != 0:
            warnings.append("its base, the directory \(path), is not here")
        case .host where system != Self.system:
            warnings.append(
                "its base is the files of a host with \(system), and this is \(Self.system): programs whose files "
                    + "are others here cannot be restored")
        default: break
        }
        for volume in record.spec.volumes {
            warnings.append("a sandbox made of it is given \(volume.host) of this machine (\(volume.mode))")
        }
        return warnings
    }

    private static let system = SnapshotTree.systemName()

    private static func unique(_ texts: [String]) -> [String] {
        var seen: Set<String> = []
        return texts.filter { seen.insert($0).inserted }
    }
}
