/// `GET /v1/sandboxes/{name}/wait`.
public struct WaitResult: Codable, Sendable {
    /// Whether its processes have ended; false when the time to wait was over first.
    public var ended: Bool
    /// What the sandbox is now; nil when it was removed.
    public var state: SandboxState?
    /// 137 once it has ended: PID 1 never ends but by SIGKILL.
    public var exitCode: Int32?
    /// Why it is dead, where it is.
    public var reason: String?
    public init(ended: Bool, state: SandboxState?, exitCode: Int32? = nil, reason: String? = nil) {
        self.ended = ended
        self.state = state
        self.exitCode = exitCode
        self.reason = reason
    }
}

/// One process of a sandbox, as `top` tells it.
public struct SandboxedProcess: Codable, Sendable {
    /// Its pid, and its parent's, inside; 0 for no parent there.
    public var pid: Int32
    public var parent: Int32
    /// Its pid on the host.
    public var hostPid: Int32
    /// The user inside, by name where /etc/passwd there has one, else by number.
    public var user: String
    public var uid: UInt32
    /// The letter of /proc/PID/stat: R, S, D, T, t, Z …
    public var state: String
    public var threads: Int
    /// Of one CPU, over the interval asked for, or since its start.
    public var cpuPercent: Double
    /// User and system time so far, in seconds.
    public var cpuSeconds: Double
    /// Memory that is resident, shared pages included.
    public var rssBytes: Int64
    /// Seconds since 1970.
    public var started: Double
    /// The command line with spaces between its words, or the name in brackets where it has none.
    public var command: String

    public init(
        pid: Int32, parent: Int32, hostPid: Int32, user: String, uid: UInt32, state: String, threads: Int,
        cpuPercent: Double, cpuSeconds: Double, rssBytes: Int64, started: Double, command: String
    ) {
        self.pid = pid
        self.parent = parent
        self.hostPid = hostPid
        self.user = user
        self.uid = uid
        self.state = state
        self.threads = threads
        self.cpuPercent = cpuPercent
        self.cpuSeconds = cpuSeconds
        self.rssBytes = rssBytes
        self.started = started
        self.command = command
    }
}

/// `GET /v1/sandboxes/{name}/top`: by pid inside.
public struct ProcessTable: Codable, Sendable {
    public var processes: [SandboxedProcess]
    public init(processes: [SandboxedProcess]) { self.processes = processes }
}

/// What the API can ask of the engine about processes.
public protocol ProcessOperations: Sendable {
    /// Waits until no process of the sandbox is left, `seconds` (0 to 30) at most; a restore goes on waiting.
    func wait(_ name: String, seconds: Double, cancelled: Cancellation) throws(ErrorMessage) -> WaitResult
    /// The processes; their use of the CPU is measured over `interval` seconds (0 to 10), 0 is since their start.
    func top(_ name: String, interval: Double, cancelled: Cancellation) throws(ErrorMessage) -> ProcessTable
}
