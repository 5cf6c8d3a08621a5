import LinuxSystem
public import Messages
import SnapshotTree
import Telemetry

extension CheckpointManager {
    /// Every snapshot, oldest first, and every sandbox.
    public func tree() throws(ErrorMessage) -> TreeInfo {
        let standing = standing()
        let infos = try mapping { () throws(SnapshotTreeError) in try store.infos(standing: standing) }
        return TreeInfo(snapshots: infos + twinInfos(), sandboxes: all.map { $0.info() })
    }

    public func tree(
        encodedBy encode: (any Encodable) -> [UInt8]
    ) throws(ErrorMessage) -> [SharedBytes] {
        let sandboxes = Array("{\"sandboxes\":".utf8) + encode(all.map { $0.info() })
        let standing = standing()
        let list = try mapping { () throws(SnapshotTreeError) in
            try store.list(standing: standing) { encode($0) }
        }
        let isEmpty = list.allSatisfy { $0.bytes.isEmpty }
        let twins = twinInfos().enumerated().flatMap { number, twin in
            (number == 0 && isEmpty ? [] : [UInt8(ascii: ",")]) + encode(twin)
        }
        return [SharedBytes(sandboxes + Array(",\"snapshots\":[".utf8))] + list
            + [SharedBytes(twins + Array("]}".utf8))]
    }

    public func snapshot(_ reference: String) throws(ErrorMessage) -> SnapshotInfo {
        if let twin = twinInfo(reference) { return twin }
        return try info(of: resolve(reference))
    }

    private func info(of record: SnapshotTree.Record) throws(ErrorMessage) -> SnapshotInfo {
        let names = standing()[record.id] ?? []
        return try mapping { () throws(SnapshotTreeError) in try store.info(for: record, standing: names) }
    }

    public func tag(_ reference: String, _ tag: String) throws(ErrorMessage) -> SnapshotInfo {
        let record = try resolve(reference)
        try mapping { () throws(SnapshotTreeError) in try store.tag(record.id, as: tag) }
        return try snapshot(record.id)
    }

    public func untag(_ tag: String) throws(ErrorMessage) {
        _ = try mapping { () throws(SnapshotTreeError) in try store.untag(tag) }
    }

    /// Deletes a snapshot; with `subtree` all that came from it too, with `keepingChildren` it alone. Layers that a sandbox uses stay until it goes.
    public func delete(
        _ reference: String, subtree: Bool, keepingChildren: Bool
    ) throws(ErrorMessage) -> DeleteResult {
        if let result = try deleteTwin(reference, subtree: subtree) { return result }
        let start = monotonicNanoseconds()
        let record = try resolve(reference)
        let work = telemetry.began("deleteSnapshot", snapshot: record.id)
        defer { work.end() }
        let result = try deleting { (standing, layers) throws(ErrorMessage) in
            try mapping { () throws(SnapshotTreeError) in
                try store.delete(
                    record.id, subtree: subtree, keepingChildren: keepingChildren, standing: standing,
                    layersInUse: layers, watch: work.watch)
            }
        }
        telemetry.emit(.deleted) { event in
            (event.snapshot, event.names, event.count) = (record.id, result.deleted, result.deleted.count)
            (event.bytes, event.durationMs) = (result.freedBytes, milliseconds(since: start))
        }
        return result
    }

    /// Removes what nothing refers to any more, and what the rules and the limit of the request let go.
    ///
    /// Nobody is held up while the store is counted: what comes into use meanwhile is left out when its turn comes.
    public func gc(_ request: GCRequest) throws(ErrorMessage) -> GCResult {
        let start = monotonicNanoseconds()
        try request.check()
        let work = telemetry.began("collectGarbage")
        defer { work.end() }
        let result = try collect(request, work)
        if request.dryRun == true { return result }
        telemetry.emit(.gc) { event in
            (event.count, event.bytes) = (result.deleted.count + result.removed.count, result.freedBytes)
            event.durationMs = milliseconds(since: start)
        }
        return result
    }

    private func collect(
        _ request: GCRequest, _ work: LongOperation
    ) throws(ErrorMessage) -> GCResult {
        if !request.retiresSnapshots, request.dryRun != true { return try collectGarbage(work) }
        let needed = Set(standing().keys).union(gate.with { $0.leases.keys })
        let plan = try mapping { () throws(SnapshotTreeError) in
            try store.collection(
                under: request, needed: needed, layersInUse: layersInUse(), now: secondsSince1970(),
                watch: work.watch)
        }
        if request.dryRun == true { return plan }
        var freed: Int64 = 0
        var deleted: [RetiredSnapshot] = []
        let looked = WorkCount()
        work.watch("removing", .snapshots, looked, Int64(plan.deleted.count))
        for snapshot in plan.deleted {
            defer { looked.add(1) }
            let bytes = try deleting { (standing, _) throws(ErrorMessage) in
                try mapping { () throws(SnapshotTreeError) in try store.retire(snapshot, standing: standing) }
            }
            guard let bytes else { continue }
            freed += bytes
            deleted.append(snapshot)
        }
        var result = try collectGarbage(work)
        result.deleted = deleted
        result.freedBytes += freed
        result.storedBytes = plan.storedBytes.map { $0 + plan.freedBytes - result.freedBytes }
        return result
    }

    private func collectGarbage(_ work: LongOperation) throws(ErrorMessage) -> GCResult {
        try deleting { (_, layers) throws(ErrorMessage) in
            try mapping { () throws(SnapshotTreeError) in
                try store.gc(layersInUse: layers, watch: work.watch)
            }
        }
    }
}
