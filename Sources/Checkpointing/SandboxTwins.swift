import CriuImages
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
    /// The same as they were, for the layer that is written of them.
    let captured: UpperImage
    /// What its clocks showed, and the host's CLOCK_BOOTTIME in seconds.
    let instant: FollowUp.Instant?
    let hostBoottime: Double
    /// When, by the monotonic clock in nanoseconds.
    let made = monotonicNanoseconds()
    var record = Writing.waits

    /// What becomes of its snapshot on disk.
    enum Writing: Sendable {
        case waits
        case done
        /// Why it cannot be, one sentence.
        case refused(String)

        var isDone: Bool {
            if case .done = self { return true }
            return false
        }
    }
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
        /// Those that are to be written down, the next one first; the one that is; whether there is a thread for it.
        var waiting: [String] = []
        var writing: String?
        var hasWriter = false
        /// How many wait for it.
        var awaiting = 0
        /// Whether the next one is to be written down at once.
        var isUrgent: Bool { awaiting > 0 || waiting.count > SandboxTwins.mostWaiting }
        /// The last one that was, and the layer it became.
        var written: (image: UpperImage, layer: String)?

        mutating func ended(_ id: String, _ outcome: TwinSnapshot.Writing) {
            snapshots[id]?.record = outcome
            writing = nil
        }
    }

    /// Twins of a sandbox that are kept at most: each is a process, or several, of its pid namespace.
    static let most = 256
    /// How many wait at most, to be written down when there is time.
    static let mostWaiting = 32

    let holder: TwinHolder
    private let state = Monitor(State())

    /// Starts their holder.
    init(executable: String) throws(SystemError) { holder = try TwinHolder(executable: executable) }

    func with<Result>(_ body: (inout State) -> Result) -> Result { state.with { body(&$0) } }
    /// The same for what somebody may wait for.
    func change<Result>(_ body: (inout State) -> Result) -> Result { state.with(wake: true) { body(&$0) } }

    /// Waits until nothing is to be written down any more.
    func awaitWriting() { awaited { state.wait { $0.writing == nil && $0.waiting.isEmpty ? () : nil } } }

    private func awaited<Result>(_ body: () -> Result) -> Result {
        change { $0.awaiting += 1 }
        defer { change { $0.awaiting -= 1 } }
        return body()
    }

    /// Waits until a time of the monotonic clock, or until something is to be written down at once.
    func rest(until time: UInt64) { state.wait(until: time) { $0.isUrgent ? () : nil } }

    /// Waits until it is known what became of a twin's snapshot on disk; nil where the twin is gone.
    func awaitWriting(of id: String) -> TwinSnapshot.Writing? {
        awaited {
            state.wait { state -> TwinSnapshot.Writing?? in
                guard let twin = state.snapshots[id] else { return .some(nil) }
                if case .waits = twin.record { return nil }
                return twin.record
            } ?? nil
        }
    }

    func isWritten(_ id: String) -> Bool { with { $0.snapshots[id]?.record.isDone ?? false } }

    var position: String? { with { $0.position } }
    var count: Int { with { $0.snapshots.count } }
    /// The host's processes that are twins.
    var processes: Int { with { $0.snapshots.values.reduce(0) { $0 + $1.info.processes } } }

    func snapshot(_ id: String) -> TwinSnapshot? { with { $0.snapshots[id] } }

    /// Those that are not on disk, oldest first, each with its children among the twins and the sandboxes that stand on it.
    func infos(standing sandbox: String) -> [SnapshotInfo] {
        let (snapshots, position) = with { ($0.snapshots, $0.position) }
        return snapshots.values.filter { !$0.record.isDone }.map { twin in
            var info = twin.info
            info.children = snapshots.values.filter { $0.info.parent == info.id }.map(\.info.id).sorted()
            info.standing = info.id == position ? [sandbox] : []
            if case .refused(let why) = twin.record { info.engineReason = why }
            return info
        }.sorted { ($0.created, $0.id) < ($1.created, $1.id) }
    }

    /// Ends the oldest of those that are on disk too, but for the one that the sandbox stands on; whether there was one.
    func dropOldestWritten() -> Bool {
        let set = with { state -> UInt64? in
            let written = state.snapshots.values.filter { $0.record.isDone && $0.info.id != state.position }
            guard let oldest = written.min(by: { $0.info.created < $1.info.created }) else { return nil }
            state.snapshots[oldest.info.id] = nil
            return oldest.set
        }
        if let set { holder.drop(set) }
        return set != nil
    }

    /// Ends all of them, and waits until their processes have; for a dump, which would hold them.
    func end() {
        let sets = change { state in
            defer { (state.snapshots, state.position, state.waiting) = ([:], nil, []) }
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
    /// The one on disk that it stands on, or comes from.
    var positionOnDisk: String? {
        guard let twins, let position = twins.position, twins.isWritten(position) else {
            return record.position
        }
        return position
    }
}

/// What came of taking twins out of those that a sandbox has.
private enum TakenTwins {
    /// Their ids, the one that was asked for first; the holder's numbers; whether that one is on disk too.
    case taken(ids: [String], sets: [UInt64], isOnDisk: Bool)
    /// Nothing: this one is being written down.
    case isWritten(String)
}

extension SandboxTwins {
    /// Takes out a twin, with `subtree` those that came from it too; else they come from its parent from now on.
    fileprivate func take(_ id: String, subtree: Bool, of sandbox: String) throws(ErrorMessage) -> TakenTwins
    {
        try change { $0.take(id, subtree: subtree, of: sandbox) }.get()
    }
}

extension SandboxTwins.State {
    fileprivate mutating func take(
        _ id: String, subtree: Bool, of sandbox: String
    ) -> Result<TakenTwins, ErrorMessage> {
        guard let twin = snapshots[id] else {
            return .failure(ErrorMessage(.unknownSnapshot, "snapshot \(id) is gone"))
        }
        var doomed = [id]
        var next = 0
        while subtree, next < doomed.count {
            let parent = doomed[next]
            doomed += snapshots.values.filter { $0.info.parent == parent }.map(\.info.id)
            next += 1
        }
        if let position, doomed.contains(position) {
            return .failure(
                ErrorMessage(
                    .inUse, "sandbox \(sandbox) stands on snapshot \(position)",
                    hint: "ckpt restore \(sandbox) takes it to another"))
        }
        // Whoever is written after it needs it as long.
        if let writing,
            doomed.contains(writing) || snapshots[writing]?.info.parent.map(doomed.contains) == true
        {
            return .success(.isWritten(writing))
        }
        for child in doomed.dropFirst() where snapshots[child]?.record.isDone == true && !twin.record.isDone {
            return .failure(
                ErrorMessage(
                    .inUse, "snapshot \(child), which came from \(id), is on disk",
                    hint: "delete that one first"))
        }
        let sets = doomed.compactMap { snapshots.removeValue(forKey: $0)?.set }
        waiting.removeAll { doomed.contains($0) }
        for child in snapshots.keys where snapshots[child]?.info.parent == id {
            snapshots[child]?.info.parent = twin.info.parent
        }
        return .success(.taken(ids: doomed, sets: sets, isOnDisk: twin.record.isDone))
    }
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

    /// Waits until a twin is on disk, and refuses what needs that where it cannot be.
    func checkDurable(_ reference: String) throws(ErrorMessage) {
        let name = reference.prefix { $0 != "~" }
        guard let (sandbox, id) = findTwin(String(name)), let twins = sandbox.twins else { return }
        guard case .refused(let why) = twins.awaitWriting(of: id) else { return }
        throw ErrorMessage(
            .wrongState,
            "snapshot \(id) is a twin: it is in memory alone, and only its sandbox can go back to it",
            hint: "ckpt save --engine criu \(sandbox.name) makes one that can be kept",
            cause: "it could not be written down: \(why)")
    }

    /// Ends a twin, with `subtree` those that came from it too; else they come from its parent from now on.
    ///
    /// nil where there is none, or one that is on disk too, and there remains.
    func deleteTwin(_ reference: String, subtree: Bool) throws(ErrorMessage) -> DeleteResult? {
        // A sandbox's name means what it stands on, which cannot be deleted: say so.
        guard let (sandbox, id) = findTwin(reference) else { return nil }
        return try sandbox.exclusively { () throws(ErrorMessage) in
            guard let twins = sandbox.twins else {
                throw ErrorMessage(.unknownSnapshot, "snapshot \(id) is gone")
            }
            // A later server finds the sandbox on the one on disk that it stood on last: that is to be a newer one first.
            if let last = sandbox.record.position, last == id || subtree, twins.isWritten(last),
                twins.position != last
            {
                twins.awaitWriting()
            }
            while true {
                switch try twins.take(id, subtree: subtree, of: sandbox.name) {
                case .isWritten(let other): _ = twins.awaitWriting(of: other)
                case .taken(let doomed, let sets, let isOnDisk):
                    for set in sets { twins.holder.drop(set) }
                    if isOnDisk { return nil }
                    telemetry.emit(.deleted) { event in
                        (event.snapshot, event.names, event.count) = (id, doomed, doomed.count)
                    }
                    return DeleteResult(deleted: doomed, freedBytes: 0)
                }
            }
        }
    }
}
