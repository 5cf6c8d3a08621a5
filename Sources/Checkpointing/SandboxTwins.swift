import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree
import Telemetry
import Twins

/// A snapshot whose memory is stopped copies of the processes, and whose files are in the server's memory.
struct TwinSnapshot: Sendable {
    /// What the API tells of it, but for children and who stands on it.
    var info: SnapshotInfo
    /// The holder's number for its processes.
    let set: UInt64
    /// Its files, as the upper directories hold them.
    var image: UpperImage
}

/// The twins of one incarnation of a sandbox: they end with its processes.
final class SandboxTwins: Sendable {
    struct State {
        var snapshots: [String: TwinSnapshot] = [:]
        /// The one that the sandbox stands on; nil where that is the snapshot its record names.
        var position: String?
        /// What the upper directories held when they were last read.
        var last: UpperImage?
        var sets: UInt64 = 0
    }

    /// Twins of a sandbox that are kept at most: each is a process, or several, of its pid namespace.
    static let most = 256

    let holder: TwinHolder
    private let state = Monitor(State())

    /// Starts their holder.
    init(executable: String) throws(SystemError) { holder = try TwinHolder(executable: executable) }

    func with<Result>(_ body: (inout State) -> Result) -> Result { state.with { body(&$0) } }

    var position: String? { with { $0.position } }
    var count: Int { with { $0.snapshots.count } }
    /// The host's processes that are twins.
    var processes: Int { with { $0.snapshots.values.reduce(0) { $0 + $1.info.processes } } }

    func snapshot(_ id: String) -> TwinSnapshot? { with { $0.snapshots[id] } }

    /// Oldest first, each with its children among the twins and the sandboxes that stand on it.
    func infos(standing sandbox: String) -> [SnapshotInfo] {
        let (snapshots, position) = with { ($0.snapshots, $0.position) }
        return snapshots.values.map { twin in
            var info = twin.info
            info.children = snapshots.values.filter { $0.info.parent == info.id }.map(\.info.id).sorted()
            info.standing = info.id == position ? [sandbox] : []
            return info
        }.sorted { ($0.created, $0.id) < ($1.created, $1.id) }
    }

    /// Ends all of them, and waits until their processes have; for a dump, which would hold them.
    func end() {
        let sets = with { state in
            defer { (state.snapshots, state.position) = ([:], nil) }
            return state.snapshots.values.map(\.set)
        }
        for set in sets { holder.drop(set) }
    }
}

extension LiveSandbox {
    /// The twins of what runs in it, where there are any.
    var twins: SandboxTwins? { with { $0.running?.twins } }
    /// The snapshot that it stands on, twin or not.
    var position: String? { twins?.position ?? record.position }
}

extension CheckpointManager {
    /// The twin that a reference means, by its id or a unique beginning of it, by the name of a sandbox that stands on it.
    func findTwin(_ reference: String) -> (sandbox: LiveSandbox, id: String)? {
        if let sandbox = registry.with({ $0[reference] }) {
            return sandbox.twins?.position.map { (sandbox, $0) }
        }
        guard reference.utf8.count >= 4 else { return nil }
        // A tag, or the beginning of an id in the store, comes first.
        if reference.utf8.count < 12, (try? store.resolve(reference: reference) { _ in nil }) != nil {
            return nil
        }
        var found: (sandbox: LiveSandbox, id: String)?
        for sandbox in all {
            for id in sandbox.twins?.with({ Array($0.snapshots.keys) }) ?? [] where id.hasPrefix(reference) {
                if found != nil { return nil }
                found = (sandbox, id)
            }
        }
        return found
    }

    /// What the API tells of a twin; nil where the reference means none.
    func twinInfo(_ reference: String) -> SnapshotInfo? {
        guard let (sandbox, id) = findTwin(reference) else { return nil }
        return sandbox.twins?.infos(standing: sandbox.name).first { $0.id == id }
    }

    /// All twins of all sandboxes, oldest first.
    func twinInfos() -> [SnapshotInfo] {
        all.flatMap { $0.twins?.infos(standing: $0.name) ?? [] }.sorted { $0.created < $1.created }
    }

    /// Refuses what needs a process image on disk.
    func checkDurable(_ reference: String) throws(ErrorMessage) {
        let name = reference.prefix { $0 != "~" }
        guard let (sandbox, id) = findTwin(String(name)) else { return }
        throw ErrorMessage(
            .wrongState,
            "snapshot \(id) is a twin: it is in memory alone, and only its sandbox can go back to it",
            hint: "ckpt save --engine criu \(sandbox.name) makes one that can be kept")
    }

    /// Ends a twin, with `subtree` those that came from it too; else they come from its parent from now on.
    func deleteTwin(_ reference: String, subtree: Bool) throws(ErrorMessage) -> DeleteResult? {
        // A sandbox's name means what it stands on, which cannot be deleted: say so.
        guard let (sandbox, id) = findTwin(reference) else { return nil }
        return try sandbox.exclusively { () throws(ErrorMessage) in
            guard let twins = sandbox.twins, let twin = twins.snapshot(id) else {
                throw ErrorMessage(.unknownSnapshot, "snapshot \(id) is gone")
            }
            var doomed = [id]
            var next = 0
            while subtree, next < doomed.count {
                let parent = doomed[next]
                doomed += twins.with {
                    $0.snapshots.values.filter { $0.info.parent == parent }.map(\.info.id)
                }
                next += 1
            }
            if let position = twins.position, doomed.contains(position) {
                throw ErrorMessage(
                    .inUse, "sandbox \(sandbox.name) stands on snapshot \(position)",
                    hint: "ckpt restore \(sandbox.name) takes it to another")
            }
            let sets = twins.with { state in
                let sets = doomed.compactMap { state.snapshots.removeValue(forKey: $0)?.set }
                for child in state.snapshots.keys where state.snapshots[child]?.info.parent == id {
                    state.snapshots[child]?.info.parent = twin.info.parent
                }
                return sets
            }
            for set in sets { twins.holder.drop(set) }
            telemetry.emit(.deleted) { event in
                (event.snapshot, event.names, event.count) = (id, doomed, doomed.count)
            }
            return DeleteResult(deleted: doomed, freedBytes: 0)
        }
    }
}
