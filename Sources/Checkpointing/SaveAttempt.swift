import Criu
import CriuImages
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

/// One save under way.
final class SaveAttempt {
    let sandbox: LiveSandbox
    let running: LiveSandbox.Running
    let staging: Staging
    let request: SaveRequest
    let crash: CrashInfo?
    let start: UInt64
    let cancelled: Cancellation
    var timings = Timings(totalMs: 0)
    /// When its manifest was written, in seconds since 1970; of a twin when that was made.
    lazy var created = secondsSince1970()
    /// The host's CLOCK_BOOTTIME when everything stood still, in seconds.
    var hostBoottime: Double?
    /// What the images tell of threads, once the tree stands still and CRIU is done.
    var dumped = DumpedThreads()
    /// What /proc tells of them then, by their ids in the sandbox.
    var standing: [Int32: TaskStatus] = [:]
    /// The signals that came after CRIU had read what waits.
    var later: [LaterSignals] = []
    /// How often timers had fired that were dumped as set by nobody, by their numbers in files.img.
    var firedTimers: [UInt32: UInt64] = [:]
    /// The processes, once they stand still.
    lazy var tree = TreeOfTasks(root: running.process.pid)
    /// What CRIU loses, to be put back at a restore.
    var lost = LostState()
    /// What is lost for good, one sentence each.
    var warnings: [String] = []
    /// Whether the sandbox is what it was before, once that is under way.
    var resuming: Meanwhile<Void, Never>?
    /// What is known of the snapshot that the sandbox stands on.
    var known: KnownPosition?
    /// Its memory, to compare with, while it is opened.
    var parentMemory: Meanwhile<ParentMemory?, Never>?
    /// How long everything stood still, in milliseconds, where CRIU did not hold it.
    var frozenMs = 0.0
    /// What was made without CRIU.
    var followed: FollowedUp?
    /// What its processes opened for writing since, by their paths in the sandbox.
    var openedSince: [String] = []
    /// Why that was not possible.
    var followObstacle: String?
    /// The same, found out when everything had gone on.
    var foundLate: String?
    /// Whether CRIU is to dump it.
    var mayNotFollow = false
    /// The memory that is not written but taken from the processes while they stand still.
    var left: LeftMemory?
    /// The host's pids of its processes, by those they have in the sandbox.
    var hosts: [Int32: Int32] = [:]
    /// What was taken.
    var taken: TakenMemory?
    /// Whether CRIU stands in the namespaces of names and clocks, and so dumps nothing of them.
    var leavesNames = false
    var looking: Meanwhile<SandboxNames, SystemError>?
    /// What was in them.
    var names: LeftNames?
    /// Why something that CRIU was spared cannot be had: the save can be tried again without.
    var problem: String?
    /// Whether CRIU is spared nothing.
    var leavesAllToCriu = false
    /// What the capture found unchanged since an earlier one's layer.
    var unchanged: (layer: String, captured: LayerCapture.Captured)?

    init(
        sandbox: LiveSandbox, running: LiveSandbox.Running, staging: Staging, request: SaveRequest,
        crash: CrashInfo?, start: UInt64, cancelled: Cancellation
    ) {
        self.sandbox = sandbox
        self.running = running
        self.staging = staging
        self.request = request
        self.crash = crash
        self.start = start
        self.cancelled = cancelled
    }

    var stops: Bool { request.stop == true }

    /// Where CRIU writes its log and, at its end, its statistics. A snapshot that is published before CRIU has ended
    /// must not have a file more than its digests name.
    var workPath: String { stops ? "\(sandbox.directory)/criu" : staging.processPath }

    /// Waits until the sandbox is what it was before, where it was quiet.
    func waitUntilResumed() { resuming?.wait() }

    func checkCancelled() throws(ErrorMessage) {
        if cancelled.isCancelled {
            throw ErrorMessage(.cancelled, "the save was given up: the caller went away")
        }
    }
}
