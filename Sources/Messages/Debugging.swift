/// What made a snapshot that nobody asked for: a process of its sandbox was dying of a signal.
public struct CrashInfo: Codable, Hashable, Sendable {
    /// The process and the thread that got the signal, by their ids in the sandbox.
    public var pid: Int
    public var thread: Int
    /// The process's command name.
    public var command: String
    /// The signal's number, and its `si_code` and `si_addr` (sigaction(2)).
    public var signal: Int
    public var code: Int
    public var address: UInt64

    public init(pid: Int, thread: Int, command: String, signal: Int, code: Int, address: UInt64) {
        self.pid = pid
        self.thread = thread
        self.command = command
        self.signal = signal
        self.code = code
        self.address = address
    }
}

/// `POST /v1/debug`.
public struct DebugRequest: Codable, Sendable {
    /// A reference to a snapshot.
    public var snapshot: String
    public init(snapshot: String) { self.snapshot = snapshot }
}

/// A fresh sandbox in which every process of a snapshot stands still at the snapshot's instant.
public struct DebugSession: Codable, Sendable {
    /// The sandbox; removing it ends the session.
    public var sandbox: String
    /// The snapshot's id.
    public var snapshot: String
    /// Its processes but PID 1, which runs: it carries what commands print.
    public var processes: [DebuggedProcess]
    /// What made the snapshot, where it was a crash.
    public var crash: CrashInfo?

    public init(sandbox: String, snapshot: String, processes: [DebuggedProcess], crash: CrashInfo? = nil) {
        self.sandbox = sandbox
        self.snapshot = snapshot
        self.processes = processes
        self.crash = crash
    }
}

/// One process of a debug session.
public struct DebuggedProcess: Codable, Hashable, Sendable {
    /// Inside the sandbox.
    public var pid: Int
    /// On the host, for a debugger there.
    public var hostPid: Int
    /// Its command line.
    public var command: String

    public init(pid: Int, hostPid: Int, command: String) {
        self.pid = pid
        self.hostPid = hostPid
        self.command = command
    }
}
