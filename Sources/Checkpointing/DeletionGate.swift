import LinuxSystem
import Messages
import SnapshotTree

/// Keeps deletions apart from what is about to need a snapshot.
struct DeletionGate {
    /// Snapshots that a restore or a fork is reading: how many do.
    var leases: [String: Int] = [:]
    /// How many are between finding or making a snapshot and having it stood on or leased.
    var sharers = 0
    var isDeleting = false
}

extension CheckpointManager {
    /// Runs `body` while no deletion looks at who stands where; it must be quick.
    func sharing<Result>(_ body: () throws(ErrorMessage) -> Result) throws(ErrorMessage) -> Result {
        gate.wait { gate -> Void? in
            if gate.isDeleting { return nil }
            gate.sharers += 1
            return ()
        }
        defer { gate.with(wake: true) { $0.sharers -= 1 } }
        return try body()
    }

    /// Runs `body` while nobody can delete the snapshot.
    func leasing<Result>(
        _ snapshot: SnapshotTree.Record, _ body: () throws(ErrorMessage) -> Result
    ) throws(ErrorMessage) -> Result {
        try leasing([snapshot], body)
    }

    /// The same for several.
    func leasing<Result>(
        _ snapshots: [SnapshotTree.Record], _ body: () throws(ErrorMessage) -> Result
    ) throws(ErrorMessage) -> Result {
        try sharing { () throws(ErrorMessage) in
            // One may have been deleted since it was looked up.
            for snapshot in snapshots { _ = try resolve(snapshot.id) }
            gate.with { for snapshot in snapshots { $0.leases[snapshot.id, default: 0] += 1 } }
        }
        defer {
            gate.with { gate in
                for snapshot in snapshots {
                    gate.leases[snapshot.id]! -= 1
                    if gate.leases[snapshot.id] == 0 { gate.leases[snapshot.id] = nil }
                }
            }
        }
        return try body()
    }

    /// Runs a deletion with who stands where, restores under way included, and the layers that must stay.
    func deleting<Result>(
        _ body: (_ standing: [String: [String]], _ layers: Set<String>) throws(ErrorMessage) -> Result
    ) throws(ErrorMessage) -> Result {
        let leased = gate.wait { gate -> [String]? in
            if gate.isDeleting || gate.sharers > 0 { return nil }
            gate.isDeleting = true
            return Array(gate.leases.keys)
        }
        defer { gate.with(wake: true) { $0.isDeleting = false } }
        var standing = standing()
        // Whoever restores a snapshot will stand on it in a moment.
        for id in leased ?? [] { standing[id, default: []].append("(a restore under way)") }
        return try body(standing, layersInUse())
    }
}
