/// A moment in a dump or a restore at which CRIU waits until it is told to go on.
public struct CriuNotification: Equatable, Sendable {
    /// Which moment, in the order in which they come.
    public enum Moment: String, Sendable {
        /// Before anything; the tree runs.
        case preDump = "pre-dump"
        /// Every process is stopped, and nothing is written yet (criu/cr-dump.c, `cr_dump_tasks`).
        case frozen = "query-ext-files"
        /// All is written, every process is still stopped: the frozen window.
        case postDump = "post-dump"
        /// Before anything.
        case preRestore = "pre-restore"
        /// The root process exists in its new namespaces, which are still empty; `pid` is its pid on the host.
        case setupNamespaces = "setup-namespaces"
        /// The namespaces are filled, the mounts are made.
        case postSetupNamespaces = "post-setup-namespaces"
        /// Every process is rebuilt and waits; `pid` is the root's pid on the host.
        case postRestore = "post-restore"
        /// Every process is about to run. A refusal from here on is not heeded (criu/cr-restore.c).
        case preResume = "pre-resume"
        /// Every process runs.
        case postResume = "post-resume"
        /// The network is (to be) cut off or let through: only when CRIU knows of a network namespace.
        case networkLock = "network-lock"
        case networkUnlock = "network-unlock"
        /// One that this ckpt has no use for.
        case other
    }

    public let moment: Moment
    /// The root process, where CRIU says it.
    public let pid: Int32?
    /// The CRIU worker that asks and waits; it traces every process that stands still.
    public internal(set) var worker: Int32 = 0
    /// Whether the worker has not ended: as long as it has not, what stands still does not run on.
    public var isWorkerAlive: Bool { !CriuConversation.hasEnded(worker) }

    init(script: String, pid: Int32?) {
        moment = Moment(rawValue: script) ?? .other
        self.pid = pid
    }
}
