import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

/// One sandbox of this server.
final class LiveSandbox: Sendable {
    /// What changes while it lives.
    struct State {
        var record: SandboxRecord
        /// Its PID 1 and the line to it, while it runs.
        var running: Running?
        /// The layer that last captured its upper; compared with at the next save.
        var capture: CapturedUpper?
        /// The highest number a root filesystem of it was given; the record's is that of the one it runs on.
        var lastIncarnation: Int
        /// What leads out of it and in by ports, with `nat`.
        var wayOut: WayOut?
        /// The processes whose crash is being saved, by their pids in it: PID 1 tells of each on every connection.
        var crashing: Set<Int> = []
        /// Whether a debugger has it: nothing in it is helped along.
        var isDebugged = false
        /// Whether it has been removed: whoever still holds it must let go.
        var isGone = false
    }

    struct Running {
        let process: SandboxProcess
        let channel: CommandChannel
        let root: RootFilesystem
    }

    let name: String
    /// `ROOT/sandboxes/NAME`.
    let directory: String
    let log: CommandLog
    private let state: Monitor<State>
    private let busy = Monitor(false)

    init(record: SandboxRecord, directory: String) {
        name = record.name
        self.directory = directory
        log = CommandLog(directory: directory)
        state = Monitor(State(record: record, lastIncarnation: record.incarnation))
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
        return try body()
    }

    /// Its PID 1 and channel; an error that says what it is instead.
    func running(for operation: String) throws(ErrorMessage) -> Running {
        noticeDeath()
        return try with { (state) throws(ErrorMessage) in
            if let running = state.running { return running }
            let record = state.record
            let hint =
                record.position.map { "ckpt restore \(name) brings it back to snapshot \($0)" }
                ?? "ckpt reset \(name) starts it afresh"
            switch record.state {
            case .stopped:
                throw ErrorMessage(.wrongState, "cannot \(operation): sandbox \(name) is stopped", hint: hint)
            case .dead, .running:
                let why = record.reason ?? "its PID 1 ended"
                throw ErrorMessage(
                    .wrongState, "cannot \(operation): sandbox \(name) is dead: \(why)", hint: hint)
            }
        }
    }

    /// Writes down that its PID 1 is gone, if it is.
    func noticeDeath() {
        let (channel, wayOut) = with { state -> (CommandChannel?, WayOut?) in
            guard let running = state.running, !running.process.isAlive else { return (nil, nil) }
            state.running = nil
            defer { state.wayOut = nil }
            state.record.state = .dead
            state.record.process = nil
            state.record.reason = "its PID 1 was killed from outside"
            try? state.record.write(to: directory)
            return (running.channel, state.wayOut)
        }
        wayOut?.end()
        channel?.abandon(.disconnected)
    }

    /// Changes the record and writes it down.
    func update(_ change: (inout SandboxRecord) -> Void) throws(ErrorMessage) {
        try with { (state) throws(ErrorMessage) in
            change(&state.record)
            do throws(SystemError) { try state.record.write(to: directory) } catch {
                throw ErrorMessage("the record of sandbox \(name) cannot be written", error)
            }
        }
    }

    private func sessions(on channel: CommandChannel) -> [String] {
        let listing = try? channel.list(deadline: monotonicNanoseconds() + 2_000_000_000)
        return (listing?.sessions ?? []).map(\.name).sorted()
    }

    /// What the API tells of it.
    func info() -> SandboxInfo {
        noticeDeath()
        let (record, running, wayOut) = with { ($0.record, $0.running, $0.wayOut) }
        let ports = wayOut?.ports ?? []
        return SandboxInfo(
            name: name, state: record.state, pid: running?.process.pid, spec: record.spec,
            created: record.created,
            snapshot: record.position, processes: running?.process.processCount() ?? 0,
            sessions: running.map { sessions(on: $0.channel) } ?? [], reason: record.reason,
            ports: ports.isEmpty ? nil : ports)
    }
}

extension ErrorMessage {
    static func unknownSandbox(_ name: String) -> ErrorMessage {
        ErrorMessage(.unknownSandbox, "there is no sandbox \(name)", hint: "ckpt ps lists them")
    }
}
