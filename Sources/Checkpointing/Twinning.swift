import CriuImages
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree
import Telemetry
import Twins

/// What became of a save that was to make a twin.
enum TwinSave {
    case made(SnapshotInfo)
    /// Why CRIU has to make it, one sentence.
    case refused(String)
}

extension CheckpointManager {
    /// Whether a save is to make a twin, and where it is and cannot, why: before anything is touched.
    func twinWish(_ request: SaveRequest, _ crash: CrashInfo?) -> (isWanted: Bool, obstacle: String?) {
        guard (request.engine ?? engine) == .twin else { return (false, nil) }
        if crash != nil { return (true, "a process of it is about to die") }
        if request.stop == true { return (true, "--stop leaves no process that a twin could stay with") }
        if request.tag != nil { return (true, "a tag names what lasts") }
        if request.durability != nil { return (true, "what survives a power cut has to be on the disk") }
        return (true, nil)
    }

    /// Makes a twin of a sandbox; the caller holds it.
    func saveTwin(
        _ sandbox: LiveSandbox, _ running: LiveSandbox.Running, _ request: SaveRequest, start: UInt64
    ) throws(ErrorMessage) -> TwinSave {
        if running.isPaused { return .refused("it is paused") }
        if sandbox.with({ $0.isDebugged }) { return .refused("a debugger has it") }
        if sandbox.record.spec.security.capabilities & Self.mounting != 0 { return .refused("it may mount") }
        guard let parts = upperParts(of: sandbox, running) else {
            return .refused("it can write to more than the layer of its own")
        }
        let twins: SandboxTwins
        do throws(SystemError) {
            if let known = running.twins {
                twins = known
            } else {
                twins = try SandboxTwins(executable: executable)
            }
        } catch {
            return .refused("the holder of twins cannot be started: \(error.description)")
        }
        if twins.count >= SandboxTwins.most, !twins.dropOldestWritten() {
            return .refused("it has \(SandboxTwins.most) twins, the most that are kept")
        }
        sandbox.with { $0.running?.twins = twins }
        let set = twins.with { state in
            state.sets += 1
            return state.sets
        }
        var timings = Timings(totalMs: 0)
        var instant: FollowUp.Instant?
        switch copy(twins, set, running.process.pid, parts, &timings, &instant) {
        case .failure(let obstacle): return .refused(obstacle.sentence)
        case .success(let (processes, image)):
            let boottime = secondsSinceBoot()
            timings.totalMs = milliseconds(since: start)
            let info = twinInfo(of: sandbox, twins, request, processes, timings)
            twins.with { state in
                state.snapshots[info.id] = TwinSnapshot(
                    info: info, set: set, image: image, captured: image, instant: instant,
                    hostBoottime: boottime)
                (state.position, state.last) = (info.id, image)
            }
            writeDown(info.id, of: sandbox, running, twins)
            var answer = info
            answer.standing = [sandbox.name]
            tellSave(answer, crash: nil)
            return .made(answer)
        }
    }

    /// CAP_SYS_ADMIN (<linux/capability.h>): mounts and names of a sandbox that has it do not go back with its files.
    private static let mounting: UInt64 = 1 << 21

    private struct Obstacle: Error { let sentence: String }

    /// Copies the processes and, while they stand still, the files.
    private func copy(
        _ twins: SandboxTwins, _ set: UInt64, _ process: Int32, _ parts: [UpperPart],
        _ timings: inout Timings,
        _ instant: inout FollowUp.Instant?
    ) -> Result<(processes: Int, image: UpperImage), Obstacle> {
        let began = monotonicNanoseconds()
        var captured: Result<UpperImage, UpperImageError>?
        var filesystemMs = 0.0
        let processes: Int
        do throws(TwinError) {
            processes = try twins.holder.make(set, of: process) {
                let start = monotonicNanoseconds()
                captured = Result { () throws(UpperImageError) in
                    try UpperImage.capture(parts, previous: twins.with { $0.last })
                }
                filesystemMs = milliseconds(since: start)
                instant = FollowUp.Instant(now: process)
            }
        } catch {
            switch error {
            case .refused(let why), .broken(let why): return .failure(Obstacle(sentence: why))
            }
        }
        timings.filesystemMs = filesystemMs
        timings.frozenMs = milliseconds(since: began)
        do throws(UpperImageError) { return .success((processes, try captured!.get())) } catch {
            twins.holder.drop(set)
            return .failure(Obstacle(sentence: error.description))
        }
    }

    private func twinInfo(
        of sandbox: LiveSandbox, _ twins: SandboxTwins, _ request: SaveRequest, _ processes: Int,
        _ timings: Timings
    ) -> SnapshotInfo {
        let record = sandbox.record
        var info = SnapshotInfo(
            id: Self.twinID(), parent: sandbox.position, children: [], tags: [], message: request.message,
            sandbox: record.name, created: secondsSince1970(), spec: record.spec, layers: record.layers,
            processBytes: 0, layerBytes: 0, standing: [], processes: processes, timings: timings)
        (info.engine, info.durable) = (.twin, false)
        return info
    }

    private static func twinID() -> String {
        let digits = String(UInt64.random(in: 0..<(1 << 48)), radix: 16)
        return String(repeating: "0", count: 12 - digits.count) + digits
    }

    private func upperParts(of sandbox: LiveSandbox, _ running: LiveSandbox.Running) -> [UpperPart]? {
        let layers = sandbox.record.layers.reversed().map { store.layerPath($0) }
        return running.root.overlays(over: layers)?.map {
            UpperPart(key: $0.key, path: $0.path, upper: $0.upper, lowers: $0.lowers)
        }
    }

    /// Does something while no line leads to PID 1.
    private func withoutLine<Result>(
        _ running: LiveSandbox.Running, of sandbox: LiveSandbox, _ body: () throws(ErrorMessage) -> Result
    ) throws(ErrorMessage) -> Result {
        do throws(CommandError) {
            try running.channel.quiesce(deadline: monotonicNanoseconds() + Self.commandPatience)
        } catch { throw error.message }
        defer { takeUpLine(running, of: sandbox) }
        return try body()
    }

    private func takeUpLine(_ running: LiveSandbox.Running, of sandbox: LiveSandbox) {
        do throws(CommandError) {
            try running.channel.resume(
                pid: running.process.pid, deadline: monotonicNanoseconds() + Self.commandPatience)
        } catch {
            running.channel.abandon(error)
            report("sandbox \(sandbox.name): no line to its PID 1: \(error.message.description)")
        }
    }

    /// Starts the holder of a sandbox's twins before its first save, where the server's saves are to be twins.
    func prepareTwins(of sandbox: LiveSandbox, _ process: SandboxProcess) {
        guard engine == .twin, registry.with({ $0[sandbox.name] === sandbox }) else { return }
        startThread { [executable] in
            guard let twins = try? SandboxTwins(executable: executable) else { return }
            sandbox.with { state in
                guard state.running?.process === process, state.running?.twins == nil else { return }
                state.running?.twins = twins
            }
        }
    }

    /// Ends the twins of a sandbox, which a process image would hold; what is to be said of it.
    func endTwins(of sandbox: LiveSandbox) -> String? {
        guard let twins = sandbox.twins else { return nil }
        twins.awaitWriting()
        let count = twins.infos(standing: sandbox.name).count
        twins.end()
        if count == 0 { return nil }
        return
            "a process image can hold no twins: \(count == 1 ? "1 of it was" : "\(count) of it were") ended"
    }

    /// Rolls a sandbox back to one of its twins; the caller holds it.
    func restoreTwin(
        _ id: String, of sandbox: LiveSandbox, start: UInt64
    ) throws(ErrorMessage) -> RestoreResult {
        let running = try sandbox.running(for: "restore")
        guard let twins = running.twins, let twin = twins.snapshot(id),
            let parts = upperParts(of: sandbox, running)
        else { throw ErrorMessage(.unknownSnapshot, "snapshot \(id) is gone") }
        var timings = Timings(totalMs: 0)
        try withoutLine(running, of: sandbox) { () throws(ErrorMessage) in
            try turnBack(sandbox, running, twins, twin, parts, &timings)
        }
        timings.totalMs = milliseconds(since: start)
        var result = RestoreResult(
            sandbox: sandbox.info(restored: twin.info.processes), snapshot: id, timings: timings)
        result.engine = .twin
        if twins.isWritten(id), sandbox.record.position != id {
            startThread { [self] in stand(on: id, sandbox, twins) }
        }
        telemetry.emit(.restored) { event in
            (event.sandbox, event.snapshot) = (sandbox.name, id)
            (event.durationMs, event.timings) = (timings.totalMs, timings)
        }
        return result
    }

    private func turnBack(
        _ sandbox: LiveSandbox, _ running: LiveSandbox.Running, _ twins: SandboxTwins, _ twin: TwinSnapshot,
        _ parts: [UpperPart], _ timings: inout Timings
    ) throws(ErrorMessage) {
        let process = running.process.pid
        do throws(TwinError) {
            var image = twin.image
            try twins.holder.revive(twin.set, of: process) { () throws(TwinError) in
                let began = monotonicNanoseconds()
                do throws(UpperImageError) {
                    image = try image.putBack(parts, below: "/proc/\(process)/root")
                } catch { throw TwinError.broken("its files could not be put back: \(error.description)") }
                timings.filesystemMs = milliseconds(since: began)
            }
            twins.with { state in
                state.snapshots[twin.info.id]?.image = image
                (state.position, state.last) = (twin.info.id, image)
            }
        } catch {
            switch error {
            case .refused(let why):
                throw ErrorMessage(
                    .cannotRestore, "sandbox \(sandbox.name) cannot go back to twin \(twin.info.id): \(why)")
            case .broken(let why): throw endAfterFailure(sandbox, running, twin.info.id, why)
            }
        }
    }

    /// What is half rolled back must not run on.
    private func endAfterFailure(
        _ sandbox: LiveSandbox, _ running: LiveSandbox.Running, _ id: String, _ why: String
    ) -> ErrorMessage {
        sandbox.with { $0.isEnding = true }
        defer { sandbox.with { $0.isEnding = false } }
        let reason = "it could not be brought back to twin \(id): \(why)"
        running.kill()
        running.channel.abandon(.rolledBack)
        _ = running.process.ended(within: 5000)
        closeWayOut(of: sandbox)
        running.groups.remove()
        sandbox.with { $0.running = nil }
        note(sandbox) { record in
            record.state = .dead
            record.process = nil
            record.reason = reason
        }
        let position = sandbox.record.position
        return ErrorMessage(
            .cannotRestore, "sandbox \(sandbox.name) is dead: \(reason)",
            hint: position.map { "ckpt restore \(sandbox.name) brings it back to snapshot \($0)" }
                ?? "ckpt reset \(sandbox.name) starts it afresh")
    }
}
