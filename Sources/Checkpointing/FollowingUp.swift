import Criu
import CriuImages
import FoundationEssentials
import Glibc
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree
import Telemetry
import Twins

/// What becomes of a save that ckpt makes without CRIU, for the processes are those of the snapshot before.
struct FollowedUp {
    let processes: Int
    /// The images, but for those of memory and mappings, while they are compared and written: what the links among them lead
    /// to, by name.
    let writing: Meanwhile<[String: String], FollowUpRefusal>
}

/// How often a sandbox's saves could not follow up others of late, though their processes were held for it.
struct FollowingLuck: Sendable {
    private var refusals = 0
    private var skips = 0

    /// Whether the next save is to try: not each of one that changes all the time.
    mutating func isTried() -> Bool {
        if skips == 0 { return true }
        skips -= 1
        return false
    }

    mutating func note(refused: Bool) {
        refusals = refused ? refusals + 1 : 0
        // 2, 4, 8, 16
        skips = refusals < 2 ? 0 : 1 << min(refusals - 1, 4)
    }
}

extension CheckpointManager {
    /// The snapshot that a save may follow up; nil where there is none, or where CRIU is to make the dump.
    func predecessor(_ attempt: SaveAttempt) -> Predecessor? {
        let record = attempt.sandbox.record
        guard !attempt.leavesAllToCriu, !attempt.mayNotFollow, attempt.request.engine == nil, !attempt.stops,
            attempt.crash == nil, !attempt.running.isPaused, record.spec.net != .host,
            record.spec.security.capabilities & Capability.mask(["SYS_ADMIN"]) == 0,
            attempt.running.root.tmpfs.isEmpty, !attempt.sandbox.with({ $0.isDebugged || $0.hasObjects }),
            let known = attempt.known
        else { return nil }
        attempt.followObstacle = known.obstacle
        return attempt.sandbox.with { $0.following.isTried() } ? known.predecessor : nil
    }

    /// Notes for whoever looks into it why CRIU made a dump.
    func tellObstacle(_ attempt: SaveAttempt) {
        guard let why = attempt.followObstacle else { return }
        telemetry.log.write(.debug, "sandbox \(attempt.sandbox.name): saved by CRIU: \(why)")
    }

    /// Makes a save's images out of those of the snapshot before; false where something changed that only CRIU can write
    /// down, and then nothing has.
    ///
    /// The line to PID 1 must be closed. `frozen` is called while every process stands still.
    func followUp(
        _ attempt: SaveAttempt, _ before: Predecessor, frozen: () throws(ErrorMessage) -> Void
    ) throws(ErrorMessage) -> Bool {
        guard let taker = borrowTaker() else { return false }
        attempt.leavesNames = true
        attempt.lookAtNames()
        let began = monotonicNanoseconds()
        var looks = FirstLooks()
        let bytes: (bytes: [UInt8], count: Int)
        do throws(TwinError) {
            bytes = try taker.note(of: attempt.running.process.pid) { processes in
                for process in processes { looks.look(at: process) }
            }
        } catch {
            switch error {
            case .refused(let why):
                attempt.followObstacle = why
                attempt.sandbox.with { $0.following.note(refused: true) }
                giveBack(taker)
                return false
            case .broken(let why):
                giveBack(nil)
                attempt.problem = why
                throw ErrorMessage(.internal, "the processes cannot be looked at", cause: why)
            }
        }
        let made: FollowUp
        do {
            // Whatever happens, they go on.
            defer {
                do throws(TwinError) {
                    try taker.go()
                    giveBack(taker)
                } catch {
                    giveBack(nil)
                    attempt.problem = "the processes were let go by the end of what held them"
                }
                attempt.frozenMs = milliseconds(since: began)
            }
            guard let found = try noteFollowUp(attempt, before, bytes, looks) else {
                attempt.sandbox.with { $0.following.note(refused: true) }
                return false
            }
            made = found
            attempt.openedSince = found.openedForWriting
            try attempt.checkCancelled()
            let instant = monotonicNanoseconds()
            try frozen()
            attempt.timings.filesystemMs = milliseconds(since: instant)
        }
        do throws(FollowUpRefusal) { try made.writeMaps(into: attempt.staging.processPath) } catch {
            throw attempt.late(error)
        }
        let (path, frozen, memory) = (
            attempt.staging.processPath, attempt.frozenMs, attempt.timings.memoryMs ?? 0
        )
        let (hostname, domainname) = (attempt.names?.hostname ?? "", attempt.names?.domainname ?? "")
        attempt.followed = FollowedUp(
            processes: made.processCount,
            writing: Meanwhile { () throws(FollowUpRefusal) in
                try made.write(
                    into: path, hostname: hostname, domainname: domainname, frozen: frozen, memory: memory)
            })
        return true
    }

    /// Compares what was noted, and takes the memory. Every process stands still.
    private func noteFollowUp(
        _ attempt: SaveAttempt, _ before: Predecessor, _ noted: (bytes: [UInt8], count: Int),
        _ looks: FirstLooks
    ) throws(ErrorMessage) -> FollowUp? {
        attempt.lookAtNames()
        guard let notes = TaskNotes(noted.bytes, count: noted.count),
            let instant = FollowUp.Instant(now: attempt.running.process.pid)
        else {
            return nil
        }
        let made: FollowUp
        do throws(FollowUpRefusal) {
            made = try FollowUp(before, notes, looks, at: instant)
        } catch {
            attempt.followObstacle = error.description
            return nil
        }
        attempt.hostBoottime = secondsSinceBoot()
        attempt.tree = TreeOfTasks(processes: notes.processes)
        if attempt.foundObjects {
            attempt.followObstacle = "it has objects of System V"
            return nil
        }
        guard let parent = attempt.parentMemory?.wait(),
            Set(parent.processes).isSuperset(of: before.pids)
        else { return nil }
        attempt.noteWhatIsLost()
        try attempt.takeNames()
        let began = monotonicNanoseconds()
        do throws(CriuImageError) {
            attempt.taken = try made.takeMemory(in: attempt.staging.processPath, sharing: parent)
        } catch {
            // A mapping that is not compared has no cause in a system call.
            if error.cause == nil { throw attempt.late(FollowUpRefusal(error)) }
            attempt.problem = error.description
            throw ErrorMessage(
                RuntimeError.kind(error.cause?.code ?? 0), "the memory of its processes cannot be taken",
                hint: error.cause?.remedy, cause: error.description)
        }
        attempt.timings.memoryMs = milliseconds(since: began)
        return made
    }
}

extension SaveAttempt {
    /// What it failed by was found out when everything had gone on.
    fileprivate func late(_ refusal: FollowUpRefusal) -> ErrorMessage {
        if foundLate == nil { sandbox.with { $0.following.note(refused: true) } }
        foundLate = refusal.description
        return ErrorMessage(
            .internal, "the snapshot before cannot be followed up", cause: refusal.description)
    }

    /// Waits until the images of a save without CRIU are written; what the links among them lead to.
    func finishFollowing() throws(ErrorMessage) -> [String: String] {
        do throws(FollowUpRefusal) { return try followed?.writing.wait() ?? [:] } catch { throw late(error) }
    }
}

extension FollowUp.Instant {
    /// What the clocks of a tree show now, by the host's pid of its PID 1: the host's with the offsets of its time namespace
    /// (time_namespaces(7)).
    init?(now root: Int32) {
        guard let bytes = try? Files.read("/proc/\(root)/timens_offsets") else { return nil }
        var offsets: [Substring: Int64] = [:]
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 3, let seconds = Int64(words[1]), let rest = Int64(words[2]) else {
                return nil
            }
            offsets[words[0]] = seconds * 1_000_000_000 + rest
        }
        guard let monotonic = offsets["monotonic"], let boottime = offsets["boottime"] else { return nil }
        func now(_ clock: clockid_t) -> Int64 {
            var time = timespec()
            clock_gettime(clock, &time)
            return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
        }
        self.init(monotonic: now(CLOCK_MONOTONIC) + monotonic, boottime: now(CLOCK_BOOTTIME) + boottime)
    }
}
