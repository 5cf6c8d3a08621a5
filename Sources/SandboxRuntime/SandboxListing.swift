import CLinux
public import Messages

/// What a sandbox's PID 1 knows.
public struct SandboxListing: Sendable {
    /// Commands that run, wait for their session, or have ended and not been forgotten.
    public internal(set) var commands: [CommandEntry] = []
    /// Sessions whose bash lives.
    public internal(set) var sessions: [SessionEntry] = []

    /// Takes one frame of a list in; false when it is none.
    mutating func take(_ frame: ckpt_frame, _ payload: [UInt8]) throws(CommandError) -> Bool {
        switch Int(frame.type) {
        case CKPT_JOB: commands.append(CommandEntry(try payload.structure(ckpt_job.self)))
        case CKPT_ENTRY: commands.append(CommandEntry(try payload.structure(ckpt_entry.self)))
        case CKPT_SESSION:
            let name = String(decoding: payload, as: UTF8.self)
            guard CommandSpec.isName(name), let pid = Int32(exactly: frame.value) else { throw .garbage }
            sessions.append(SessionEntry(name: name, pid: pid, busy: frame.stream != 0))
        default: return false
        }
        // More than PID 1 has room for: it is none of ours, and would fill our memory.
        guard commands.count <= CKPT_INIT_COMMANDS, sessions.count <= CKPT_INIT_SESSIONS,
            commands.last?.isSound ?? true
        else { throw .garbage }
        return true
    }
}

/// One session of a sandbox.
public struct SessionEntry: Sendable, Equatable {
    public let name: String
    /// Of its bash, inside the sandbox.
    public let pid: Int32
    /// Whether a call runs in it.
    public let busy: Bool
}

/// One command as PID 1 tells it.
public struct CommandEntry: Sendable {
    public let id: String
    /// The session it is a call of; empty for none.
    public let session: String
    /// Inside the sandbox; 0 when it has ended or waits for its session.
    public let pid: Int32
    public let hasEnded: Bool
    /// Bytes of stdout and stderr that were acknowledged, and that were produced.
    public let acknowledged: [UInt64]
    public let produced: [UInt64]
    public let stdinTaken: UInt64
    let exit: ckpt_exit?
    /// How long ago it ended, in nanoseconds; 0 while it has not.
    let endedBefore: UInt64
    /// What is known of it beyond that where it is a job.
    public let job: Job?

    /// A command that was started to run unattended.
    public struct Job: Sendable {
        /// The command line, cut after 255 bytes.
        public let label: String
        /// Seconds since 1970.
        public let started: Double
        /// Seconds since 1970; nil while it runs.
        public let ended: Double?
        /// From which offset on stdout and stderr could not be stored; nil for none.
        public let lostFrom: [UInt64?]
    }

    /// How it ended, without its output; nil while it runs.
    public var result: ExecResult? { exit.map { ExecResult(id: id, $0) } }

    init(_ job: ckpt_job) {
        let seconds = { (time: UInt64) in Double(time) / 1e9 }
        let lost = [job.lost_from.0, job.lost_from.1].map { $0 == .max ? nil : $0 }
        self.init(
            job.entry,
            job: Job(
                label: text(job.label), started: seconds(job.started_ns),
                ended: job.ended_ns == 0 ? nil : seconds(job.ended_ns), lostFrom: lost))
    }

    /// Whether it can be what it says; a sandbox may have come to say anything.
    var isSound: Bool {
        CommandSpec.isName(id) && (session.isEmpty || CommandSpec.isName(session)) && pid >= 0
            && (acknowledged + produced + [stdinTaken]).allSatisfy { $0 < InitFrame.endOfStreams }
    }

    init(_ entry: ckpt_entry, job: Job? = nil) {
        self.job = job
        id = text(entry.id)
        session = text(entry.session)
        pid = Int32(exactly: entry.pid) ?? -1
        hasEnded = Int(entry.flags) & CKPT_ENTRY_EXITED != 0
        acknowledged = [entry.acknowledged.0, entry.acknowledged.1]
        produced = [entry.produced.0, entry.produced.1]
        stdinTaken = entry.stdin_taken
        exit = hasEnded ? entry.exit : nil
        endedBefore = hasEnded ? UInt64(entry.ended_ms) * 1_000_000 : 0
    }
}
