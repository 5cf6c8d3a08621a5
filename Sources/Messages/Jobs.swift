/// A command that runs unattended in a sandbox, and is saved, restored and forked with it.
public struct JobInfo: Codable, Sendable {
    public enum State: String, Codable, Sendable, CaseIterable {
        case running, exited
    }
    public var id: String
    /// The command line, cut after 255 bytes.
    public var command: String
    /// The session whose bash runs it.
    public var session: String?
    public var state: State
    /// Its process inside the sandbox, while it runs.
    public var pid: Int32?
    /// As in `ExecResult`; nil while it runs.
    public var exitCode: Int32?
    /// The signal that killed it.
    public var signal: Int32?
    public var timedOut: Bool
    /// Seconds since 1970.
    public var started: Double
    /// Seconds since 1970; nil while it runs.
    public var ended: Double?
    /// What it has printed so far, in bytes.
    public var stdoutBytes: UInt64
    public var stderrBytes: UInt64
    /// Whether some of its output is not kept: of each stream the first 32 MiB are, and the last 31 at least.
    public var truncated: Bool

    /// A job that has printed nothing.
    public init(id: String, command: String, state: State, started: Double) {
        self.id = id
        self.command = command
        self.state = state
        self.started = started
        timedOut = false
        stdoutBytes = 0
        stderrBytes = 0
        truncated = false
    }
}

/// `GET /v1/sandboxes/{name}/jobs`: in the order of their starts.
public struct JobList: Codable, Sendable {
    public var jobs: [JobInfo]
    public init(jobs: [JobInfo]) { self.jobs = jobs }
}

/// A part of what a command printed on one stream.
public struct OutputPiece: Codable, Sendable {
    /// Of its first byte in the stream: beyond the one asked for where what lies between is not kept.
    public var offset: UInt64
    /// Of the byte after it: where to go on.
    public var next: UInt64
    /// The bytes as UTF-8 text; nil when they are none.
    public var text: String?
    /// The bytes in base64, only when they are no UTF-8.
    public var base64: String?
    public init(offset: UInt64, next: UInt64, text: String? = nil, base64: String? = nil) {
        self.offset = offset
        self.next = next
        self.text = text
        self.base64 = base64
    }
}

/// `GET /v1/sandboxes/{name}/jobs/{id}`: the job and what it printed.
public struct JobOutput: Codable, Sendable {
    public var job: JobInfo
    public var stdout: OutputPiece
    public var stderr: OutputPiece
    public init(job: JobInfo, stdout: OutputPiece, stderr: OutputPiece) {
        self.job = job
        self.stdout = stdout
        self.stderr = stderr
    }
}

/// What is wanted of a job's output.
public struct JobQuery: Sendable {
    public var stdoutOffset: UInt64 = 0
    public var stderrOffset: UInt64 = 0
    /// Bytes of each stream at most; 1 MiB when nil, 4 MiB at the most.
    public var limit: Int?
    /// Seconds to wait for output beyond the offsets, or for the job's end; 30 at the most.
    public var wait: Double?
    /// All that is kept, a piece at a time.
    public init() {}
}

/// `POST /v1/sandboxes/{name}/jobs/{id}/stop`.
public struct JobStopRequest: Codable, Sendable {
    /// The first signal, a number; SIGTERM when nil.
    public var signal: Int32?
    /// Seconds until SIGKILL, which goes to all that is below the job as well; 10 when nil, 0 to 3600.
    public var grace: Double?
    public init(signal: Int32? = nil, grace: Double? = nil) {
        self.signal = signal
        self.grace = grace
    }
}

/// What the API can ask of the engine about jobs.
public protocol JobOperations: Sendable {
    /// Starts a job; returns when it runs.
    func startJob(_ name: String, _ request: ExecRequest) throws(ErrorMessage) -> JobInfo
    func jobs(_ name: String) throws(ErrorMessage) -> JobList
    /// A job by its id or a unique beginning of it.
    func job(_ name: String, _ id: String, _ query: JobQuery, cancelled: Cancellation) throws(ErrorMessage)
        -> JobOutput
    /// Ends a job; returns when it has ended.
    func stopJob(_ name: String, _ id: String, _ request: JobStopRequest) throws(ErrorMessage) -> JobInfo
    /// Forgets a job that has ended, and what it printed.
    func removeJob(_ name: String, _ id: String) throws(ErrorMessage)
}
