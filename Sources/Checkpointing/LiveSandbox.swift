import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree
import Telemetry

/// One sandbox of this server.
final class LiveSandbox: Sendable {
    /// What changes while it lives.
    struct State {
        var record: SandboxRecord
        /// Its PID 1 and the line to it, while it runs.
        var running: Running?
        /// The layer that last captured its upper; compared with at the next save.
        var capture: CapturedUpper?
        /// A PID 1 that runs on and that this server cannot speak with, and why.
        var stranger: (process: SandboxProcess, why: ErrorMessage)?
        /// What leads out of it and in by ports, with `nat`.
        var wayOut: WayOut?
        /// The processes whose crash is being saved, by their pids in it: PID 1 tells of each on every connection.
        var crashing: Set<Int> = []
        /// Whether a debugger has it: nothing in it is helped along.
        var isDebugged = false
        /// Whether somebody holds it, with whom it goes.
        var isHeld = false
        /// What was asked for and is not so.
        var warnings: [String] = []
        /// What it used when somebody last looked, a second ago or more.
        var lastSample: ResourceSample?
        /// The operation on it that is under way.
        var work: LongOperation?
        /// Whether its end is being brought about on purpose.
        var isEnding = false
        /// Whether a save found objects of System V in it.
        var hasObjects = false
        /// Whether its saves are to follow up one another.
        var following = FollowingLuck()
        /// The processes that its stand-in for a parent snapshot has, where there is one.
        var standsIn: [Int32]?
        /// Whether it has been removed: whoever still holds it must let go.
        var isGone = false
        /// Whether no command was started in it since it came from its base.
        var isUntouched = false
    }

    struct Running {
        let process: SandboxProcess
        let channel: CommandChannel
        let root: RootFilesystem
        /// Where the kernel limits and counts its processes.
        var groups: SandboxGroups
        /// Whether its processes stand still on request; the channel to PID 1 is down meanwhile.
        var isPaused = false
        /// Whether it came back with so much memory that this came in behind.
        var isLarge = false
        /// Brings the rest of its memory back, while that is not all there.
        var filling: MemoryFilling?
        /// How many of the kernel's kills for want of memory were told of.
        var oomKillsTold: UInt64 = 0
        /// Stopped copies of its processes, where there are any.
        var twins: SandboxTwins?

        /// How many are in its pid namespace that are none of its own: twins, and a bash that waits for the first command.
        var processesOfOurs: Int { (twins?.processes ?? 0) + (channel.hasSpareShell ? 1 : 0) }

        /// Ends every process, those that stand still too: only v2 lets a frozen process be killed.
        func kill() {
            process.kill()
            groups.thaw()
        }
    }

    let name: String
    /// `ROOT/sandboxes/NAME`.
    let directory: String
    /// Whether a change of its record survives a power cut.
    private let isDurable: Bool
    let log: CommandLog
    let telemetry: Telemetry
    private let state: Monitor<State>
    private let busy = Monitor(false)

    init(record: SandboxRecord, directory: String, isDurable: Bool, telemetry: Telemetry) {
        name = record.name
        self.telemetry = telemetry
        self.directory = directory
        self.isDurable = isDurable
        log = CommandLog(directory: directory)
        state = Monitor(State(record: record))
    }

    /// Reads or changes the state; `body` must be quick.
    func with<Result, Failure: Error>(
        _ body: (inout State) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try state.with { (state) throws(Failure) in try body(&state) }
    }

    var record: SandboxRecord { with { $0.record } }

    /// Runs one operation at a time: save, restore, reset, kill and rm of one sandbox wait for each other.
    func exclusively<Result>(_ body: () throws(ErrorMessage) -> Result) throws(ErrorMessage) -> Result {
        busy.wait { busy -> Void? in
            if busy { return nil }
            busy = true
            return ()
        }
        defer { busy.with(wake: true) { $0 = false } }
        if with({ $0.isGone }) { throw .unknownSandbox(name) }
        mendLine()
        return try body()
    }

    /// Connects to PID 1 again where the line broke and PID 1 lives: a call that failed for want of a descriptor or
    /// memory does not cost a sandbox. The caller holds the sandbox, for a save must not meet the connection.
    private func mendLine() {
        guard let running = with({ $0.running }), !running.isPaused, running.channel.isDown,
            running.process.isAlive
        else { return }
        _ = try? running.channel.connect(
            pid: running.process.pid, deadline: monotonicNanoseconds() + Self.mendingPatience)
    }

    /// Longest that PID 1 is waited for, in nanoseconds.
    private static let mendingPatience: UInt64 = 2_000_000_000

    /// The same for whoever does not hold the sandbox; whoever does has seen to it.
    private func mendLineUnlessHeld() {
        guard with({ $0.running })?.channel.isDown == true else { return }
        let isOurs = busy.with { busy in
            defer { busy = true }
            return !busy
        }
        guard isOurs else { return }
        mendLine()
        busy.with(wake: true) { $0 = false }
    }

    /// Its PID 1 and channel; an error that says what it is instead.
    ///
    /// One that is paused is refused where PID 1 has to do something (`evenPaused` false). The bash that waits for a first
    /// command is ended unless the operation sees no processes (`sparesShell`).
    func running(
        for operation: String, evenPaused: Bool = false, sparesShell: Bool = false
    ) throws(ErrorMessage) -> Running {
        noticeDeath()
        mendLineUnlessHeld()
        let running = try runs(for: operation, evenPaused: evenPaused)
        if !sparesShell {
            try? running.channel.dropSpareShell(deadline: monotonicNanoseconds() + Self.mendingPatience)
        }
        return running
    }

    private func runs(for operation: String, evenPaused: Bool) throws(ErrorMessage) -> Running {
        try with { (state) throws(ErrorMessage) in
            if let running = state.running {
                guard !running.isPaused || evenPaused else {
                    throw ErrorMessage(
                        .wrongState, "cannot \(operation): sandbox \(name) is paused",
                        hint: "ckpt unpause \(name) lets it run on")
                }
                return running
            }
            if let why = state.stranger?.why {
                throw ErrorMessage(
                    why.code, "cannot \(operation): sandbox \(name) runs on, but \(why.message)",
                    hint: why.hint)
            }
            let record = state.record
            let hint =
                record.position.map { "ckpt restore \(name) brings it back to snapshot \($0)" }
                ?? "ckpt reset \(name) starts it afresh"
            switch record.state {
            case .stopped:
                throw ErrorMessage(.wrongState, "cannot \(operation): sandbox \(name) is stopped", hint: hint)
            case .dead, .running, .paused:
                let why = record.reason ?? "its PID 1 ended"
                throw ErrorMessage(
                    .wrongState, "cannot \(operation): sandbox \(name) is dead: \(why)", hint: hint)
            }
        }
    }

    /// Writes down that its PID 1 is gone, if it is.
    func noticeDeath() {
        with { state in
            guard let stranger = state.stranger, !stranger.process.isAlive else { return }
            state.stranger = nil
            state.record.state = .dead
            state.record.process = nil
            state.record.reason = "its PID 1 ended"
            try? state.record.write(to: directory, durable: isDurable)
        }
        let isGone = with { state in
            !state.isEnding && state.running.map { !$0.process.isAlive } == true
        }
        if !isGone { return }
        noticeKills()
        let ended = with { state -> (running: Running, wayOut: WayOut?)? in
            guard let running = state.running, !state.isEnding, !running.process.isAlive else { return nil }
            let kills = running.groups.oomKills ?? 0
            state.running = nil
            defer { state.wayOut = nil }
            state.record.state = .dead
            state.record.process = nil
            state.record.reason =
                running.filling?.whyLost
                ?? (kills > 0
                    ? "its PID 1 was killed, and memory had run out (\(kills) processes were killed for that)"
                    : "its PID 1 was killed from outside")
            try? state.record.write(to: directory, durable: isDurable)
            return (running, state.wayOut)
        }
        guard let ended else { return }
        ended.wayOut?.end()
        ended.running.channel.abandon(.disconnected)
        tellDeath(of: ended.running.process)
        startThread { [groups = ended.running.groups] in groups.remove() }
    }

    /// Ends a PID 1 that this server cannot speak with, with all its processes.
    func endStranger() {
        guard
            let stranger = with({ state in
                defer { state.stranger = nil }
                return state.stranger
            })
        else { return }
        stranger.process.kill()
        _ = stranger.process.ended(within: 5000)
    }

    /// Changes the record and writes it down; when it throws nothing has changed.
    func update(_ change: (inout SandboxRecord) -> Void) throws(ErrorMessage) {
        try with { (state) throws(ErrorMessage) in
            var record = state.record
            change(&record)
            do throws(SystemError) { try record.write(to: directory, durable: isDurable) } catch {
                throw ErrorMessage("the record of sandbox \(name) cannot be written", error)
            }
            state.record = record
        }
    }

    private func sessions(on channel: CommandChannel, asTold: Bool) -> [String] {
        let told = asTold ? channel.lastListing : nil
        let listing =
            told ?? (try? channel.listWithoutWaiting(deadline: monotonicNanoseconds() + 2_000_000_000))
        return (listing?.sessions ?? []).map(\.name).sorted()
    }

    /// What the API tells of it. One that was just `restored` with so many processes has those, and the sessions that it told
    /// of when it was connected to: nobody has to be asked, nor /proc be walked through.
    func info(restored: Int? = nil) -> SandboxInfo {
        noticeDeath()
        let (record, running, warnings) = with { ($0.record, $0.running, $0.warnings) }
        // It has its PID 1, and nobody has to be asked.
        let isUntouched = with { $0.isUntouched && $0.running != nil }
        let ports = with { $0.wayOut?.ports } ?? []
        let isPaused = running?.isPaused == true
        let stranger = with { $0.stranger }
        let process = running?.process ?? stranger?.process
        var info = SandboxInfo(
            name: name, state: isPaused ? .paused : record.state, pid: process?.pid,
            spec: record.spec, created: record.created, snapshot: running?.twins?.position ?? record.position,
            processes: isUntouched
                ? 1 : restored ?? max(0, (process?.processCount() ?? 0) - (running?.processesOfOurs ?? 0)),
            sessions: running.map {
                isPaused || isUntouched ? [] : sessions(on: $0.channel, asTold: restored != nil)
            } ?? [],
            reason: stranger?.why.message ?? record.reason,
            ports: ports.isEmpty ? nil : ports)
        info.warnings = warnings
        info.memoryToCome = running?.filling.flatMap { $0.progress?.left }
        info.oomKills = running?.groups.oomKills
        return info
    }
}

extension ErrorMessage {
    static func unknownSandbox(_ name: String) -> ErrorMessage {
        ErrorMessage(.unknownSandbox, "there is no sandbox \(name)", hint: "ckpt ps lists them")
    }
}
