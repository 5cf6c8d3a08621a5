import CCriuImages
import Glibc
public import LinuxSystem

/// A tree to restore from an image directory.
public struct RestoreRequest: Sendable {
    /// The tree's root directory: a mount point in the worker's mount namespace.
    public var root: String
    /// Which network namespace a tree gets.
    public enum Network: Sendable {
        /// An empty one of its own, for images that were made ready for that by
        /// `ImageDirectory.giveTreeItsOwnNetwork()`.
        case own
        /// The worker's, for images that were dumped with `closesConnections`.
        case shared
    }

    public var network: Network
    /// Whether every process is left stopped (SIGSTOP) at the very instant of its dump.
    public var leaveStopped: Bool
    /// Mounts and the like that are not part of the tree, as CRIU spells them: `mnt[data]:/path`.
    public var external: [String]
    /// When to give up, in nanoseconds of CLOCK_MONOTONIC; nil never does.
    public var deadline: UInt64?
    /// Whether the end of a worker that has succeeded is awaited by another thread.
    public var leavesWorker = false

    /// A restore onto the filesystem mounted at `root`.
    public init(
        root: String, network: Network = .own, leaveStopped: Bool = false, external: [String] = [],
        deadline: UInt64? = nil
    ) {
        self.root = root
        self.network = network
        self.leaveStopped = leaveStopped
        self.external = external
        self.deadline = deadline
    }
}

extension CriuWorker {
    /// The name of the log that a restore leaves in its work directory.
    public static let restoreLog = "restore.log"

    /// Brings the tree in `images` to life and returns its root's pid, which is a child of this process.
    ///
    /// `images` is only read; log and statistics go to `work`, which no other restore may use meanwhile.
    /// At `.setupNamespaces` the root's pid is told, and its network namespace can be set up before any socket is
    /// restored. When `notify` throws before `.preResume`, or the deadline passes, nothing is left of the tree.
    /// Throws `CriuError` with `.restoreFailed`, `.stoppedByCaller`, `.deadlinePassed` or `.workerFailed`.
    public consuming func restore(
        _ request: RestoreRequest, from images: borrowing Descriptor, work: borrowing Descriptor,
        notify: (CriuNotification) throws -> Void = { _ in }
    ) throws(CriuError) -> Int32 {
        let packet = RequestMessage.withOptions(CRIU_REQ_TYPE__RESTORE) { options in
            Options.common(&options, images: images.raw, work: work.raw, log: Self.restoreLog)
            Options.external(request.external, in: &options)
            options.root = cString(request.root)
            options.has_rst_sibling = 1
            options.rst_sibling = 1
            if request.leaveStopped {
                options.has_leave_stopped = 1
                options.leave_stopped = 1
            }
            switch request.network {
            case .own:
                options.has_empty_ns = 1
                options.empty_ns = UInt32(CLONE_NEWNET)
            case .shared: Options.closeConnections(&options)
            }
        }
        var exchange = CriuExchange(
            CriuConversation(socket: socket, worker: process), worker: process, deadline: request.deadline)
        exchange.ownsRoot = true
        let outcome: CriuExchange.Outcome
        do {
            outcome = try exchange.run(packet, notify)
        } catch {
            destroyTree(exchange.root)
            throw error
        }
        if case .success(let answer) = outcome, let pid = answer.restoredPID {
            if request.leavesWorker { leave() }
            return pid
        }
        var root = exchange.root
        var reason: String?
        var code: Int32?
        if case .failure(let answer) = outcome {
            root = root ?? answer.restoredPID
            (reason, code) = (answer.message, answer.criuErrno)
        }
        destroyTree(root)
        let log = CriuLog(Self.restoreLog, in: work)
        if let error = exchange.stopped {
            throw CriuError(.stoppedByCaller, "the restore was stopped", log: log.lines, cause: error)
        }
        if exchange.isExpired {
            throw CriuError(.deadlinePassed, "the restore took longer than it may", log: log.lines)
        }
        let refusals = RefusalReader.refusals(in: log)
        throw CriuError(
            .restoreFailed,
            refusals.first?.description ?? "CRIU stopped for a reason that ckpt does not know",
            hint: refusals.first?.hint, refusals: refusals,
            log: log.lines.isEmpty ? [reason ?? "CRIU ended in the middle of a restore"] : log.lines,
            criuErrno: code)
    }

    /// Kills the worker and whatever it has restored so far, and reaps all of it.
    ///
    /// The root is our child (`rst_sibling`) and, until CRIU has told its pid, a member of the worker's process group;
    /// it is PID 1 of its pid namespace, so everything below it dies with it.
    private consuming func destroyTree(_ root: pid_t?) {
        let (socket, process) = release()
        close(socket)
        kill(-process, SIGKILL)
        var information = siginfo_t()
        if let root, root != process,
            waitid(P_PID, id_t(root), &information, WEXITED | WNOHANG | WNOWAIT) == 0
        {
            kill(root, SIGKILL)
            reap(root)
        }
        while waitid(P_PGID, id_t(process), &information, WEXITED) == 0 || errno == EINTR {}
    }
}
