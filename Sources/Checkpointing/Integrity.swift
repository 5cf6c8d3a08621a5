import LinuxSystem
public import Messages
import SandboxRuntime
import SnapshotTree
import Telemetry

extension CheckpointManager {
    /// Reads what is stored and compares it with the digests of the time of saving.
    ///
    /// Each snapshot is kept from deletion while it is looked at; one that goes before that is left out.
    public func verify(
        _ request: VerifyRequest, cancelled: Cancellation
    ) throws(ErrorMessage) -> VerifyReport {
        let start = monotonicNanoseconds()
        let wanted = request.snapshots ?? []
        let records = try wanted.isEmpty ? allRecords() : resolve(all: wanted)
        let read = WorkCount()
        let verification = Verification(store, counting: read)
        let work = telemetry.began("verify")
        defer { work.end() }
        let total = Self.bytesToRead(records)
        work.phase("reading", in: .bytes) { (read.value, total) }
        for record in records {
            try cancelled.check()
            do throws(ErrorMessage) {
                try leasing(record) { () throws(ErrorMessage) in
                    try mapping { () throws(SnapshotTreeError) in try verification.check(record) }
                }
            } catch  where error.code == .unknownSnapshot && wanted.isEmpty {
                continue
            }
        }
        if wanted.isEmpty { verification.checkCatalog() }
        checkInit(records, verification, all: wanted.isEmpty)
        var report = try mapping { () throws(SnapshotTreeError) in try verification.report() }
        report.durationMs = milliseconds(since: start)
        return report
    }

    /// What snapshots take on disk.
    public func usage(_ request: UsageRequest) throws(ErrorMessage) -> UsageReport {
        let wanted = request.snapshots ?? []
        let records = try wanted.isEmpty ? allRecords() : resolve(all: wanted)
        return try mapping { () throws(SnapshotTreeError) in try store.usage(of: records) }
    }

    /// Throws unless a snapshot is still what was saved and fits this machine; nothing has been touched then. What is
    /// read thoroughly is told of as the first part of `work`.
    func checkBeforeUse(
        _ record: SnapshotTree.Record, thoroughly: Bool?, _ work: LongOperation? = nil
    ) throws(ErrorMessage) {
        if let misfit = Machine.current.misfit(of: record.manifest) {
            throw ErrorMessage(
                .cannotRestore, "snapshot \(record.id) does not fit this machine: \(misfit)",
                hint: "restore it where it was saved; ckpt show \(record.id) tells where that was")
        }
        let read = WorkCount()
        if thoroughly == true { work?.phase("checking what is stored", in: .bytes) { (read.value, nil) } }
        try mapping { () throws(SnapshotTreeError) in
            try store.checkBeforeUse(record, thoroughly: thoroughly == true, counting: read)
        }
    }

    private func allRecords() throws(ErrorMessage) -> [SnapshotTree.Record] {
        try mapping { () throws(SnapshotTreeError) in try store.snapshots() }
    }

    private func resolve(all references: [String]) throws(ErrorMessage) -> [SnapshotTree.Record] {
        var records: [SnapshotTree.Record] = []
        for reference in references {
            let record = try resolve(reference)
            if !records.contains(where: { $0.id == record.id }) { records.append(record) }
        }
        return records
    }

    /// Each version of PID 1 bears the fingerprint of its bytes as its name.
    private func checkInit(_ records: [SnapshotTree.Record], _ verification: Verification, all: Bool) {
        var users: [String: [String]] = [:]
        for record in records {
            guard let ground = try? Ground(manifest: record.manifest) else { continue }
            users[ground.initID, default: []].append(record.id)
        }
        let ids = Set(users.keys).union(all ? initProgram.keptIDs : [])
        for id in ids.sorted() {
            if let problem = initProgram.damage(id: id) {
                verification.note("init/\(id)", problem, snapshots: users[id] ?? [])
            }
        }
    }
}
