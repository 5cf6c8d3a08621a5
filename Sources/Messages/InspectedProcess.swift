/// One process of a snapshot, by the ids it has inside the sandbox.
public struct InspectedProcess: Codable, Hashable, Sendable {
    /// Its process id.
    public var pid: Int
    /// Its parent's; 0 for the root of the tree.
    public var parent: Int
    /// Its process group.
    public var group: Int
    /// Its session.
    public var session: Int
    /// What it was doing.
    public var state: String
    /// Its command name, at most 15 bytes.
    public var command: String
    /// Its command line, read from its memory; missing for a zombie.
    public var arguments: [String]?
    /// The program's path.
    public var executable: String?
    /// Its working directory.
    public var workingDirectory: String?
    /// Its root directory.
    public var rootDirectory: String?
    /// The mode bits it takes from new files.
    public var umask: Int?
    /// A zombie's status as wait(2) tells it.
    public var exitStatus: Int?
    /// Who it is; missing for a zombie.
    public var credentials: InspectedCredentials?
    /// Its resource limits.
    public var limits: [InspectedLimit]
    /// How much the kernel prefers it when memory runs out, -1000 to 1000.
    public var oomScoreAdjustment: Int?
    /// Its threads, the one of its pid first.
    public var threads: [InspectedThread]
    /// Signals that wait for the process as a whole.
    public var pendingSignals: [String]
    /// Signals that do not do what they do by default.
    public var handlers: [InspectedHandler]
    /// Its interval timers and POSIX timers that are armed or exist.
    public var timers: [InspectedTimer]
    /// Its environment as it is now, read from its memory.
    public var environment: [String]?
    /// Its open descriptors.
    public var files: [InspectedFile]?
    /// Its memory; missing for a zombie.
    public var memory: InspectedMemory?

    public init(
        pid: Int, parent: Int, group: Int, session: Int, state: String, command: String,
        arguments: [String]? = nil, executable: String? = nil, workingDirectory: String? = nil,
        rootDirectory: String? = nil, umask: Int? = nil, exitStatus: Int? = nil,
        credentials: InspectedCredentials? = nil, limits: [InspectedLimit], oomScoreAdjustment: Int? = nil,
        threads: [InspectedThread], pendingSignals: [String], handlers: [InspectedHandler],
        timers: [InspectedTimer], environment: [String]? = nil, files: [InspectedFile]? = nil,
        memory: InspectedMemory? = nil
    ) {
        self.pid = pid
        self.parent = parent
        self.group = group
        self.session = session
        self.state = state
        self.command = command
        self.arguments = arguments
        self.executable = executable
        self.workingDirectory = workingDirectory
        self.rootDirectory = rootDirectory
        self.umask = umask
        self.exitStatus = exitStatus
        self.credentials = credentials
        self.limits = limits
        self.oomScoreAdjustment = oomScoreAdjustment
        self.threads = threads
        self.pendingSignals = pendingSignals
        self.handlers = handlers
        self.timers = timers
        self.environment = environment
        self.files = files
        self.memory = memory
    }
}

/// Whose rights a process has (credentials(7), capabilities(7)).
public struct InspectedCredentials: Codable, Hashable, Sendable {
    /// The real user id.
    public var uid: Int
    /// The effective one.
    public var effectiveUID: Int
    /// The saved one.
    public var savedUID: Int
    /// The one for files.
    public var filesystemUID: Int
    /// The real group id.
    public var gid: Int
    /// The effective one.
    public var effectiveGID: Int
    /// The saved one.
    public var savedGID: Int
    /// The one for files.
    public var filesystemGID: Int
    /// Its supplementary groups.
    public var groups: [Int]
    /// Effective capabilities, a mask, hexadecimal, with 0x.
    public var effectiveCapabilities: String
    /// Permitted capabilities, a mask.
    public var permittedCapabilities: String
    /// Inheritable capabilities, a mask.
    public var inheritableCapabilities: String
    /// The bounding set, a mask.
    public var boundingCapabilities: String
    /// The ambient set, a mask.
    public var ambientCapabilities: String
    /// Whether execve(2) can no longer give it rights.
    public var noNewPrivileges: Bool

    public init(
        uid: Int, effectiveUID: Int, savedUID: Int, filesystemUID: Int, gid: Int, effectiveGID: Int,
        savedGID: Int, filesystemGID: Int, groups: [Int], effectiveCapabilities: String,
        permittedCapabilities: String, inheritableCapabilities: String, boundingCapabilities: String,
        ambientCapabilities: String, noNewPrivileges: Bool
    ) {
        self.uid = uid
        self.effectiveUID = effectiveUID
        self.savedUID = savedUID
        self.filesystemUID = filesystemUID
        self.gid = gid
        self.effectiveGID = effectiveGID
        self.savedGID = savedGID
        self.filesystemGID = filesystemGID
        self.groups = groups
        self.effectiveCapabilities = effectiveCapabilities
        self.permittedCapabilities = permittedCapabilities
        self.inheritableCapabilities = inheritableCapabilities
        self.boundingCapabilities = boundingCapabilities
        self.ambientCapabilities = ambientCapabilities
        self.noNewPrivileges = noNewPrivileges
    }
}

/// One limit of getrlimit(2).
public struct InspectedLimit: Codable, Hashable, Sendable {
    /// Its name, as prlimit(1) calls it.
    public var name: String
    /// What holds; missing where there is no limit.
    public var soft: UInt64?
    /// What it can be raised to; missing where there is no limit.
    public var hard: UInt64?

    public init(name: String, soft: UInt64? = nil, hard: UInt64? = nil) {
        self.name = name
        self.soft = soft
        self.hard = hard
    }
}

/// One thread of a process.
public struct InspectedThread: Codable, Hashable, Sendable {
    /// Its thread id.
    public var tid: Int
    /// Its name, at most 15 bytes.
    public var name: String
    /// The number of the system call it was in; missing where it was in none.
    public var systemCall: Int?
    /// That system call's name, where ckpt knows it.
    public var systemCallName: String?
    /// Its nice value.
    public var nice: Int
    /// Its scheduling policy.
    public var policy: String
    /// Its real-time priority; 0 without one.
    public var priority: Int
    /// Its seccomp mode.
    public var seccomp: String
    /// How many filters it has.
    public var seccompFilters: Int
    /// Signals it blocks.
    public var blockedSignals: [String]
    /// Signals that wait for it alone.
    public var pendingSignals: [String]
    /// General registers, hexadecimal, with 0x.
    public var registers: [String: String]?
    /// Floating point and vector registers, hexadecimal, with 0x.
    public var floatingPoint: [String: String]?

    public init(
        tid: Int, name: String, systemCall: Int? = nil, systemCallName: String? = nil, nice: Int,
        policy: String, priority: Int, seccomp: String, seccompFilters: Int, blockedSignals: [String],
        pendingSignals: [String], registers: [String: String]? = nil, floatingPoint: [String: String]? = nil
    ) {
        self.tid = tid
        self.name = name
        self.systemCall = systemCall
        self.systemCallName = systemCallName
        self.nice = nice
        self.policy = policy
        self.priority = priority
        self.seccomp = seccomp
        self.seccompFilters = seccompFilters
        self.blockedSignals = blockedSignals
        self.pendingSignals = pendingSignals
        self.registers = registers
        self.floatingPoint = floatingPoint
    }
}

/// What a process does about a signal.
public struct InspectedHandler: Codable, Hashable, Sendable {
    /// The signal.
    public var signal: String
    /// What happens.
    public var action: String
    /// The handler's address, hexadecimal, with 0x.
    public var address: String?

    public init(signal: String, action: String, address: String? = nil) {
        self.signal = signal
        self.action = action
        self.address = address
    }
}

/// A timer.
public struct InspectedTimer: Codable, Hashable, Sendable {
    /// Where it comes from: ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF, timer_create(2), timerfd_create(2).
    public var kind: String
    /// Its number, of timer_create(2).
    public var id: Int?
    /// Its clock.
    public var clock: String?
    /// The signal it sends.
    public var signal: String?
    /// The time left; 0 when it is not armed.
    public var remainingSeconds: Double
    /// How often it comes again; 0 for once.
    public var intervalSeconds: Double
    /// How often it has fired without being read, of timerfd_create(2).
    public var expirations: Int64?

    public init(
        kind: String, id: Int? = nil, clock: String? = nil, signal: String? = nil, remainingSeconds: Double,
        intervalSeconds: Double, expirations: Int64? = nil
    ) {
        self.kind = kind
        self.id = id
        self.clock = clock
        self.signal = signal
        self.remainingSeconds = remainingSeconds
        self.intervalSeconds = intervalSeconds
        self.expirations = expirations
    }
}
