import CCriuImages
import Glibc
public import LinuxSystem

/// A tree to dump.
public struct DumpRequest: Sendable {
    /// The root process's pid as this process sees it.
    public var pid: Int32
    /// Whether the tree goes on afterwards; else it is killed once the dump has succeeded.
    public var leaveRunning: Bool
    /// Mounts and the like that are not part of the tree, as CRIU spells them: `mnt[/data]:data`.
    public var external: [String]
    /// Directories to search, in this order, for what inotify watches, absolute in the tree's root: the kernel tells
    /// CRIU the inode alone, and overlayfs opens nothing by its handle (criu/irmap.c). Nothing is read where there
    /// is no watch.
    public var searched: [String]
    /// Whether TCP connections are saved as closed: for a tree that shares its network namespace, for nobody in a
    /// user namespace of its own may set up a connection there by TCP_REPAIR (tcp(7)).
    public var closesConnections: Bool
    /// The directory of the cgroup, v1 freezer or v2, in which the tree already stands still: CRIU takes hold of it
    /// so, and leaves it so (criu/seize.c). nil has CRIU stop the tree itself.
    public var frozenGroup: String?
    /// An image directory that CRIU takes for the dump before: the processes that have a pagemap there get one that
    /// tells which pages they have and that those did not change, and the pages stay where they are. Only where
    /// `CriuBinary.letMemoryBeLeft` says so.
    public var leftTo: String?
    /// When to give up, in nanoseconds of CLOCK_MONOTONIC; nil never does.
    public var deadline: UInt64?
    /// Whether the end of a worker that has succeeded is awaited by another thread.
    public var leavesWorker = false
    /// How long CRIU may take to let the tree go when the deadline has passed, in nanoseconds.
    var grace: UInt64 = 20_000_000_000

    /// A dump of the tree below `pid`.
    public init(
        pid: Int32, leaveRunning: Bool = true, external: [String] = [], searched: [String] = [],
        closesConnections: Bool = false, frozenGroup: String? = nil, deadline: UInt64? = nil
    ) {
        self.pid = pid
        self.leaveRunning = leaveRunning
        self.external = external
        self.searched = searched
        self.closesConnections = closesConnections
        self.frozenGroup = frozenGroup
        self.deadline = deadline
    }
}

extension CriuWorker {
    /// The name of the log that a dump leaves in its work directory.
    public static let dumpLog = "dump.log"

    /// Writes the tree into the empty directory `images`, log and statistics included; see below.
    public consuming func dump(
        _ request: DumpRequest, into images: borrowing Descriptor,
        notify: (CriuNotification) throws -> Void = { _ in }
    ) throws(CriuError) {
        try dump(request, into: images, work: images, notify: notify)
    }

    /// Writes the tree into the empty directory `images`, log and statistics into `work`.
    ///
    /// CRIU writes its statistics after `.postDump`: who moves the images away by then names another directory.
    /// `notify` is called at each moment, and `meanwhile` after it, while CRIU works on; while `notify` handles
    /// `.postDump` every process is stopped. When it throws,
    /// the dump fails and the tree runs on. Throws `CriuError` with `.dumpFailed`, `.stoppedByCaller`,
    /// `.deadlinePassed`, `.dumpStuck` or `.workerFailed`; after all but the last two the tree runs as before.
    /// CRIU itself is never killed, for its code would stay in the processes.
    public consuming func dump(
        _ request: DumpRequest, into images: borrowing Descriptor, work: borrowing Descriptor,
        notify: (CriuNotification) throws -> Void = { _ in },
        meanwhile: (CriuNotification) -> Void = { _ in }
    ) throws(CriuError) {
        let packet = RequestMessage.withOptions(CRIU_REQ_TYPE__DUMP) { options in
            Options.common(&options, images: images.raw, work: work.raw, log: Self.dumpLog)
            Options.external(request.external, in: &options)
            if request.closesConnections { Options.closeConnections(&options) }
            options.n_irmap_scan_paths = request.searched.count
            options.irmap_scan_paths = cStrings(request.searched)
            if let group = request.frozenGroup { options.freeze_cgroup = cString(group) }
            if let parent = request.leftTo {
                options.parent_img = cString(parent)
                options.has_track_mem = 1
                options.track_mem = 1
            }
            options.has_pid = 1
            options.pid = request.pid
            options.has_leave_running = 1
            options.leave_running = request.leaveRunning ? 1 : 0
            if let deadline = request.deadline {
                // CRIU's own clock covers the freezing only, in whole seconds (criu/seize.c).
                let now = monotonicNanoseconds()
                options.has_timeout = 1
                options.timeout = UInt32(clamping: (deadline > now ? deadline - now : 0) / 1_000_000_000 + 1)
            }
        }
        let conversation = CriuConversation(socket: socket, worker: process)
        var exchange = CriuExchange(conversation, worker: process, deadline: request.deadline)
        var outcome = try exchange.run(packet, notify, meanwhile: meanwhile)
        if case .silence = outcome {
            // From here on every notification is refused, so the tree is let go as soon as CRIU asks again.
            exchange.deadline = monotonicNanoseconds() + request.grace
            outcome = try exchange.goOn(notify)
        }
        switch outcome {
        case .success:
            if request.leavesWorker { leave() }
        case .silence:
            detach()
            throw CriuError(.dumpStuck, "the dump of process \(request.pid) does not end")
        case .end:
            endHelpers()
            throw CriuError(
                .workerFailed, "CRIU ended in the middle of a dump",
                log: CriuLog(Self.dumpLog, in: work).lines)
        case .failure(let answer):
            throw Self.failure(request, exchange, answer, CriuLog(Self.dumpLog, in: work))
        }
    }

    private static func failure(
        _ request: DumpRequest, _ exchange: CriuExchange, _ answer: ResponseMessage, _ log: CriuLog
    ) -> CriuError {
        if let error = exchange.stopped {
            return CriuError(.stoppedByCaller, "the dump was stopped", log: log.lines, cause: error)
        }
        if exchange.isExpired {
            return CriuError(.deadlinePassed, "the dump took longer than it may", log: log.lines)
        }
        let refusals = RefusalReader.refusals(in: log, root: request.pid)
        return CriuError(
            .dumpFailed, refusals.first?.description ?? "CRIU stopped for a reason that ckpt does not know",
            hint: refusals.first?.hint, refusals: refusals,
            log: log.lines.isEmpty ? [answer.message ?? "CRIU says nothing"] : log.lines,
            criuErrno: answer.criuErrno)
    }

    /// Ends what a dead worker left: it has a helper for what only the host's root may do (criu/namespaces.c, usernsd).
    /// The group keeps its number until the worker is reaped.
    private func endHelpers() { kill(-process, SIGKILL) }

    /// Leaves the worker to a thread that refuses whatever it asks until it ends.
    private consuming func detach() {
        let (socket, process) = release()
        startThread {
            let worker = CriuWorker(socket: socket, process: process)
            var exchange = CriuExchange(
                CriuConversation(socket: worker.socket, worker: worker.process), worker: worker.process,
                deadline: nil)
            exchange.isExpired = true
            _ = try? exchange.goOn { _ in }
        }
    }
}
