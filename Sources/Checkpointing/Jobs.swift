import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime

/// Jobs live in the sandbox: PID 1 knows them and stores what they print. The engine only asks.
extension CheckpointManager {
    private static let pieceLimit = 1 << 20
    /// How often a job is looked at while somebody waits for it, in microseconds.
    private static let lookEvery: UInt32 = 20_000

    public func startJob(_ name: String, _ request: ExecRequest) throws(ErrorMessage) -> JobInfo {
        if request.stdin != nil || request.interactive == true {
            throw ErrorMessage(
                .badValue, "a command in the background has no stdin",
                hint: "write its input to a file first, or redirect from one")
        }
        if request.maxOutput != nil {
            throw ErrorMessage(
                .badValue, "the output of a command in the background has a bound of its own",
                hint: "leave maxOutput out")
        }
        let sandbox = try find(name)
        let running = try sandbox.running(for: "run a command", sparesShell: true)
        noteFirst(request, in: sandbox)
        var request = request
        request.id = request.id ?? String(Self.madeUpID().suffix(12))
        do throws(CommandError) {
            let spec = try Self.commandSpec(for: request, in: sandbox.record.spec, pid: running.process.pid)
            try running.channel.launch(spec, deadline: monotonicNanoseconds() + Self.commandPatience)
        } catch {
            throw error.message
        }
        guard let entry = try entries(in: name).entries.first(where: { $0.id == request.id! }) else {
            throw ErrorMessage(
                .versionMismatch, "the PID 1 of sandbox \(name) is of an earlier ckpt and keeps no jobs",
                hint: "ckpt reset \(name), or a new sandbox, has one that does")
        }
        return Self.describe(entry)
    }

    public func jobs(_ name: String) throws(ErrorMessage) -> JobList {
        JobList(jobs: try entries(in: name).entries.map(Self.describe))
    }

    public func job(
        _ name: String, _ id: String, _ query: JobQuery, cancelled: Cancellation
    ) throws(ErrorMessage) -> JobOutput {
        let limit = query.limit ?? Self.pieceLimit
        guard (0...4 * Self.pieceLimit).contains(limit) else {
            throw ErrorMessage(.badValue, "limit is \(limit)", hint: "0 to \(4 * Self.pieceLimit) bytes")
        }
        let wait = query.wait ?? 0
        guard (0...30).contains(wait) else {
            throw ErrorMessage(.badValue, "wait is \(wait)", hint: "0 to 30 seconds")
        }
        let deadline = monotonicNanoseconds() + UInt64(wait * 1e9)
        while true {
            let (entry, pid) = try find(job: id, in: name)
            let news =
                entry.hasEnded || entry.produced[0] > query.stdoutOffset
                || entry.produced[1] > query.stderrOffset
            if news || monotonicNanoseconds() >= deadline {
                return try output(of: entry, pid: pid, query, limit: limit)
            }
            try cancelled.check()
            usleep(Self.lookEvery)
        }
    }

    private func output(
        of entry: CommandEntry, pid: Int32, _ query: JobQuery, limit: Int
    ) throws(ErrorMessage) -> JobOutput {
        do throws(SystemError) {
            let files = try JobFiles(inSandboxOf: pid)
            let stdout = try files.read(entry, .stdout, from: query.stdoutOffset, limit: limit)
            let stderr = try files.read(entry, .stderr, from: query.stderrOffset, limit: limit)
            return JobOutput(
                job: Self.describe(entry), stdout: OutputPiece(stdout.offset, stdout.bytes),
                stderr: OutputPiece(stderr.offset, stderr.bytes))
        } catch {
            throw ErrorMessage(
                .internal, "the output of job \(entry.id) cannot be read", cause: error.description)
        }
    }

    public func stopJob(_ name: String, _ id: String, _ request: JobStopRequest) throws(ErrorMessage)
        -> JobInfo
    {
        let grace = request.grace ?? 10
        guard (0...3600).contains(grace) else {
            throw ErrorMessage(.badValue, "a grace of \(grace) s", hint: "0 to 3600 seconds")
        }
        let first = request.signal ?? SIGTERM
        var entry = try find(job: id, in: name).entry
        if entry.hasEnded { return Self.describe(entry) }
        try signal(entry.id, in: name, grace == 0 ? SIGKILL : first)
        var deadline = monotonicNanoseconds() + UInt64(grace * 1e9)
        var killed = grace == 0
        while true {
            entry = try find(job: entry.id, in: name).entry
            if entry.hasEnded { return Self.describe(entry) }
            if monotonicNanoseconds() >= deadline {
                guard !killed else { break }
                try signal(entry.id, in: name, SIGKILL)
                killed = true
                deadline = monotonicNanoseconds() + Self.commandPatience
            }
            usleep(Self.lookEvery)
        }
        throw ErrorMessage(.internal, "job \(entry.id) does not end, not even by SIGKILL")
    }

    public func removeJob(_ name: String, _ id: String) throws(ErrorMessage) {
        let entry = try find(job: id, in: name).entry
        guard entry.hasEnded else {
            throw ErrorMessage(
                .inUse, "job \(entry.id) of sandbox \(name) runs",
                hint: "ckpt job --stop \(name) \(entry.id) ends it")
        }
        let channel = try find(name).running(for: "remove a job").channel
        do throws(CommandError) {
            try channel.forgetJob(entry.id, deadline: monotonicNanoseconds() + Self.commandPatience)
        } catch { throw error.message }
    }

    // MARK: Asking PID 1

    private func signal(_ id: String, in name: String, _ number: Int32) throws(ErrorMessage) {
        let channel = try find(name).running(for: "stop a job").channel
        do throws(CommandError) {
            try channel.signalJob(id, number, deadline: monotonicNanoseconds() + Self.commandPatience)
        } catch { throw error.message }
    }

    private func entries(in name: String) throws(ErrorMessage) -> (entries: [CommandEntry], pid: Int32) {
        let sandbox = try find(name)
        let running = try sandbox.running(for: "look at its jobs")
        do throws(CommandError) {
            let entries = try running.channel.jobs(deadline: monotonicNanoseconds() + Self.commandPatience)
            return (entries, running.process.pid)
        } catch {
            _ = try sandbox.running(for: "look at its jobs")
            throw error.message
        }
    }

    /// A job by its id or a unique beginning of it, and the host's pid of its sandbox's PID 1.
    private func find(job id: String, in name: String) throws(ErrorMessage) -> (
        entry: CommandEntry, pid: Int32
    ) {
        let (entries, pid) = try entries(in: name)
        if let entry = entries.first(where: { $0.id == id }) { return (entry, pid) }
        let fitting = id.isEmpty ? [] : entries.filter { $0.id.hasPrefix(id) }
        guard let entry = fitting.first else {
            throw ErrorMessage(
                .notFound, "sandbox \(name) has no job \(id)", hint: "ckpt jobs \(name) lists them")
        }
        guard fitting.count == 1 else {
            let ids = fitting.map(\.id).joined(separator: ", ")
            throw ErrorMessage(.ambiguous, "several jobs of sandbox \(name) begin with \(id): \(ids)")
        }
        return (entry, pid)
    }

    private static func describe(_ entry: CommandEntry) -> JobInfo {
        let job = entry.job!
        var info = JobInfo(
            id: entry.id, command: job.label, state: entry.hasEnded ? .exited : .running, started: job.started
        )
        info.session = entry.session.isEmpty ? nil : entry.session
        info.pid = entry.pid > 0 ? entry.pid : nil
        info.ended = job.ended
        if let result = entry.result {
            info.exitCode = result.exitCode
            info.signal = result.signal
            info.timedOut = result.timedOut
        }
        info.stdoutBytes = entry.produced[0]
        info.stderrBytes = entry.produced[1]
        info.truncated = JobFiles.isCut(entry)
        return info
    }
}

extension OutputPiece {
    fileprivate init(_ offset: UInt64, _ bytes: [UInt8]) {
        let text = String(validating: bytes, as: UTF8.self)
        self.init(
            offset: offset, next: offset + UInt64(bytes.count), text: text,
            base64: text == nil ? encodeBase64(bytes) : nil)
    }
}
