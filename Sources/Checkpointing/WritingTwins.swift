import CriuImages
import Glibc
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree
import Telemetry
import Twins

/// Twins are written down in the background, so that their snapshots last, and can be tagged, forked and exported.
///
/// The images are made out of those of the last snapshot on disk that the twin comes from, or of a fresh sandbox (`Template`),
/// as a save without CRIU makes them (`FollowUp`), of the copies that stand still; the layer is made of what was read into
/// memory.
extension CheckpointManager {
    /// How long who has just saved has the processors first, in nanoseconds; and at most, while others ask for anything:
    /// who tries one thing after another deletes most twins before they were worth a write.
    private static let (quiet, mostRespite): (UInt64, UInt64) = (20_000_000, 2_000_000_000)
    /// How long a thread waits for another one to write, in nanoseconds.
    private static let patience: UInt64 = 1_000_000_000
    /// How much less of a processor who writes them down gets than who is waited for.
    private static let niceness: Int32 = 10

    /// Has a twin written down, after those that were made before it.
    func writeDown(
        _ id: String, of sandbox: LiveSandbox, _ running: LiveSandbox.Running, _ twins: SandboxTwins
    ) {
        let (isFirst, isUrgent) = twins.with { state in
            state.waiting.append(id)
            defer { state.hasWriter = true }
            return (!state.hasWriter, state.isUrgent)
        }
        // Else it looks by itself.
        if isUrgent { twins.change { _ in } }
        guard isFirst else { return }
        startThread { [self] in
            while let id = nextToWrite(of: sandbox, twins) {
                let outcome: TwinSnapshot.Writing
                do throws(ErrorMessage) {
                    let start = try startingPoint(of: id, sandbox, twins)
                    // Of this thread alone: the kernel has it by thread.
                    let usual = getpriority(PRIO_PROCESS, 0)
                    setpriority(PRIO_PROCESS, 0, usual + Self.niceness)
                    defer { setpriority(PRIO_PROCESS, 0, usual) }
                    try write(id, of: sandbox, running, twins, after: start)
                    outcome = .done
                } catch {
                    outcome = .refused(error.description)
                    telemetry.log.write(
                        .info, "twin \(id) of sandbox \(sandbox.name) stays in memory: \(error.description)")
                }
                // Before anybody is told.
                if case .done = outcome { stand(on: id, sandbox, twins) }
                twins.change { $0.ended(id, outcome) }
            }
        }
    }

    /// The next one, once its time has come; nil when there was none for a while, and who asked has ended.
    private func nextToWrite(of sandbox: LiveSandbox, _ twins: SandboxTwins) -> String? {
        let end = monotonicNanoseconds() + Self.patience
        while true {
            let (asked, now) = (store.asked.with { $0 }, monotonicNanoseconds())
            // Its holder is not to outlive it for that.
            let mayComeMore = now < end && sandbox.twins === twins
            let next = twins.with { state -> Next in
                guard let id = state.waiting.first, let twin = state.snapshots[id] else {
                    // To start a thread takes as long as a fourth of a save.
                    if mayComeMore { return .later(now + Self.quiet) }
                    state.hasWriter = false
                    return .none
                }
                let time = min(asked + Self.quiet, twin.made + Self.mostRespite)
                guard state.isUrgent || time <= now else {
                    return .later(time)
                }
                state.writing = state.waiting.removeFirst()
                return .now(id)
            }
            switch next {
            case .none: return nil
            case .now(let id): return id
            case .later(let time): twins.rest(until: time)
            }
        }
    }

    private enum Next {
        case none
        case now(String)
        /// When to look again, by the monotonic clock.
        case later(UInt64)
    }

    /// Notes for later servers where a sandbox stands, whose twins end with this one.
    func stand(on id: String, _ sandbox: LiveSandbox, _ twins: SandboxTwins) {
        guard twins.position == id, sandbox.twins === twins else { return }
        _ = note(sandbox) { $0.position = id }
    }

    /// What the images of a twin are made out of.
    private enum StartingPoint {
        case snapshot(String)
        case template(Template)
    }

    private func startingPoint(
        of id: String, _ sandbox: LiveSandbox, _ twins: SandboxTwins
    ) throws(ErrorMessage) -> StartingPoint {
        guard let twin = twins.snapshot(id), sandbox.twins === twins else {
            throw ErrorMessage(.cannotSave, "it is gone")
        }
        // Those that were deleted since are no help.
        if let base = twins.ancestorOnDisk(of: twin, where: { (try? resolve($0)) != nil }) {
            return .snapshot(base)
        }
        return .template(try template(for: sandbox.record))
    }

    private func write(
        _ id: String, of sandbox: LiveSandbox, _ running: LiveSandbox.Running, _ twins: SandboxTwins,
        after start: StartingPoint
    ) throws(ErrorMessage) {
        func refusal(_ what: String) -> ErrorMessage { ErrorMessage(.cannotSave, what) }
        guard let twin = twins.snapshot(id), let instant = twin.instant else { throw refusal("it is gone") }
        func write(_ before: Predecessor, _ base: String?, isTemplate: Bool) throws(ErrorMessage) {
            let staging = try mapping { () throws(SnapshotTreeError) in try store.stage(id) }
            do throws(ErrorMessage) {
                guard staging.id == id else { throw refusal("another snapshot has its id") }
                let attempt = SaveAttempt(
                    sandbox: sandbox, running: running, staging: staging,
                    request: SaveRequest(message: twin.info.message), crash: nil,
                    start: monotonicNanoseconds(),
                    cancelled: .never)
                (attempt.created, attempt.hostBoottime) = (twin.info.created, twin.hostBoottime)
                attempt.timings = twin.info.timings ?? Timings(totalMs: 0)
                let processes = try writeImages(
                    of: twin, twins, attempt, following: before, isTemplate: isTemplate, at: instant)
                try publish(twin, twins, attempt, processes, after: base)
            } catch {
                store.abandon(staging)
                throw error
            }
        }
        func write(from template: Template, after base: String?) throws(ErrorMessage) {
            try withExtendedLifetime(template) { () throws(ErrorMessage) in
                try write(template.before, base, isTemplate: true)
            }
        }
        switch start {
        case .template(let template): try write(from: template, after: nil)
        case .snapshot(let base):
            try leasing(try resolve(base)) { () throws(ErrorMessage) in
                let known =
                    positions.with { $0.find(base) }?.wait()
                    ?? KnownPosition(readingFrom: store.processPath(base))
                do throws(ErrorMessage) {
                    guard let before = known.predecessor else {
                        throw refusal(known.obstacle ?? "snapshot \(base) cannot be followed up")
                    }
                    try write(before, base, isTemplate: false)
                } catch {
                    // Nobody there may have been like who came since: a template has a bash of the sandbox's.
                    guard error.code == .cannotSave, let other = try? template(for: sandbox.record) else {
                        throw error
                    }
                    try write(from: other, after: base)
                }
            }
        }
        readAhead(id)
    }

    /// Writes the process images; how many processes there are, and what the links among the images lead to in those of the
    /// snapshot before. Of a template nothing is shared, and the names are the sandbox's.
    private func writeImages(
        of twin: TwinSnapshot, _ twins: SandboxTwins, _ attempt: SaveAttempt, following before: Predecessor,
        isTemplate: Bool, at instant: FollowUp.Instant
    ) throws(ErrorMessage) -> (count: Int, links: [String: String]) {
        let path = attempt.staging.processPath
        let cannot = "the twin cannot be looked at"
        let noted: (bytes: [UInt8], count: Int)
        var held: [SandboxProcess] = []
        let made: FollowUp
        var links: [String: String] = [:]
        do {
            noted = try twins.holder.note(twin.set)
            guard let notes = TaskNotes(noted.bytes, count: noted.count) else {
                throw ErrorMessage(.internal, cannot)
            }
            for pid in notes.processes { held.append(try SandboxProcess(pid: pid)) }
            made = try FollowUp(
                before, notes, FirstLooks(), at: instant, twinsOf: attempt.running.process.pid)
            let parent = isTemplate ? ParentMemory() : try ParentMemory(in: before.path)
            attempt.taken = try made.takeMemory(in: path, sharing: parent)
            try made.writeMaps(into: path)
            if isTemplate {
                attempt.leavesNames = true
                attempt.lookAtNames()
                try attempt.takeNames()
                guard attempt.names != nil else {
                    throw ErrorMessage(.cannotSave, "its names cannot be looked at")
                }
            }
            links = try made.write(
                into: path, hostname: attempt.names?.hostname, domainname: attempt.names?.domainname ?? "",
                frozen: attempt.timings.frozenMs ?? 0, memory: 0, fromTemplate: isTemplate)
            attempt.lost = twins.lostState(of: notes, root: attempt.running.process.pid)
        } catch let error as TwinError {
            switch error {
            case .refused(let why), .broken(let why): throw ErrorMessage(.cannotSave, cannot, cause: why)
            }
        } catch let error as ErrorMessage {
            throw error
        } catch {
            throw ErrorMessage(.cannotSave, cannot, cause: "\(error)")
        }
        // Else their pids could have been others'.
        guard held.allSatisfy(\.isAlive) else { throw ErrorMessage(.cannotSave, "it is gone") }
        return (made.processCount, links)
    }

    private func publish(
        _ twin: TwinSnapshot, _ twins: SandboxTwins, _ attempt: SaveAttempt,
        _ processes: (count: Int, links: [String: String]), after base: String?
    ) throws(ErrorMessage) {
        let staging = attempt.staging
        var known = KnownDigests()
        let memory = try shareMemory(attempt, parent: base, &known)
        known.processLinks.merge(processes.links) { $1 }
        try attempt.lost.write(to: staging.processPath)
        let written = twins.with { $0.written }
        do throws(SystemError) {
            try twin.captured.write(
                toLayer: staging.layerPath, sharing: written.map { ($0.image, store.layerPath($0.layer)) })
        } catch {
            throw ErrorMessage("the files of twin \(staging.id) cannot be written down", error)
        }
        let manifest = Self.manifest(
            attempt, parent: base, layers: attempt.sandbox.record.layers + [staging.layerID], processes.count,
            memory)
        _ = try mapping { () throws(SnapshotTreeError) in
            try store.publish(staging, manifest: manifest, known: known)
        }
        twins.with { $0.written = (twin.captured, staging.layerID) }
    }
}

extension SandboxTwins {
    /// The nearest snapshot on disk among those that a twin comes from.
    fileprivate func ancestorOnDisk(of twin: TwinSnapshot, where isThere: (String) -> Bool) -> String? {
        var parent = twin.info.parent
        while let id = parent {
            let its = snapshot(id)
            if its?.record.isDone ?? true, isThere(id) { return id }
            parent = its?.info.parent
        }
        return nil
    }

    /// What CRIU would lose of the originals, by their ids in the sandbox.
    fileprivate func lostState(of notes: TaskNotes, root: Int32) -> LostState {
        let reader = TaskAttributeReader(root: root)
        var lost = LostState()
        for (process, inner) in notes.ids {
            if let attributes = reader.attributes(of: process, knownAs: inner) {
                lost.processes.append(attributes)
            }
        }
        return lost
    }
}
