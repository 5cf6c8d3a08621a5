import CLinux
import Criu
import CriuImages
import Glibc
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

/// What a tree is restored from and into.
struct TreeToRestore {
    let snapshot: SnapshotTree.Record
    let sandbox: LiveSandbox
    let root: RootFilesystem
    /// The mounting of `root`, which CRIU has use for once the tree's namespaces are to be made.
    let mounting: Meanwhile<Void, ErrorMessage>
    let limited: LimitedRestore
    let stopped: Bool
    let memory: MemoryMode
    let incarnation: Int
}

/// A tree that runs.
struct RestoredTree {
    let process: SandboxProcess
    /// What could not be put back.
    var warnings: [String]
    /// What brings the rest of its memory back.
    let filling: MemoryFilling?
}

extension Messages.RestoreRequest {
    /// Who looks into processes at once had better find all of them there.
    var arrivalOfMemory: MemoryMode {
        let isWhole = suspended == true || verify == true
        return memory == nil || memory == .auto ? (isWhole ? .whole : .auto) : memory!
    }
}

extension ForkRequest {
    var arrivalOfMemory: MemoryMode {
        memory == nil || memory == .auto ? (verify == true ? .whole : .auto) : memory!
    }
}

/// A restore that leaves memory out, which a pager brings in when the tree runs.
///
/// CRIU restores from a view of the images without that memory. Right before the tree runs, each process
/// concerned is made to create a userfaultfd, which the pager is given. Whatever fails until then, the tree
/// is ended and `failure` says why: it can be restored whole.
final class LazyRestore {
    /// The image directory for CRIU.
    let view: String
    private(set) var failure: SystemError?
    private(set) var filling: MemoryFilling?
    private let memory: LazyMemory
    private let pager: Pager
    private let device: Descriptor
    private let directory: String
    private let incarnation: Int
    /// The tree's root on the host, which not every notification tells.
    private var root: Int32?

    /// Prepares it while nothing of the tree is there: the view at `view`, and the pager with its files open.
    init(
        _ memory: LazyMemory, of images: String, view: String, directory: String, incarnation: Int
    ) throws(SystemError) {
        (self.memory, self.view, self.directory, self.incarnation) = (memory, view, directory, incarnation)
        device = try Descriptor.open("/dev/userfaultfd", O_RDWR)
        pager = try Pager(memory, directory: directory, incarnation: incarnation)
        do throws(CriuImageError) { try memory.makeView(of: images, at: view) } catch {
            removeView()
            throw error.cause ?? SystemError(call: "symlink", code: EIO, subject: view)
        }
    }

    func removeView() { Files.removeFlatDirectory(view) }

    /// Acts on what is due at a moment of the restore.
    func act(at notification: CriuNotification) throws(SystemError) {
        root = notification.pid ?? root
        guard notification.moment == .preResume, let root else { return }
        do throws(SystemError) { filling = try begin(root: root, worker: notification.worker) } catch {
            failure = error
            kill(root, SIGKILL)
            // PID 1 ends when all others are reaped, and for that their tracer must let go of them.
            kill(notification.worker, SIGKILL)
            throw error
        }
    }

    /// Throws where the tree must not run on: what is missing of its memory would be zeros.
    func checkBegun() throws(SystemError) {
        if filling == nil { failure = failure ?? SystemError(call: "restore", code: EPROTO) }
        if let failure { throw failure }
    }

    private func begin(root: Int32, worker: Int32) throws(SystemError) -> MemoryFilling {
        let ids = TreeOfTasks(root: root).hostIDs(of: memory.processes.map { ($0.pid, $0.pid) })
        var userFaults: [UserFault] = []
        let tasks = try HeldTasks(of: worker)
        for process in memory.processes {
            guard let id = ids[process.pid] else { throw SystemError(call: "userfaultfd", code: ESRCH) }
            let userFault = try UserFault(tasks.userFault(of: id, device: device), tellsEvents: true)
            try userFault.cover(process.ranges)
            try process.checkMissing(in: id)
            userFaults.append(userFault)
        }
        return try pager.begin(root: root, userFaults, directory: directory, incarnation: incarnation)
    }
}

extension LazyProcess {
    /// A page that is there already would stay as it is: nobody but the pager may have put one there.
    fileprivate func checkMissing(in process: Int32) throws(SystemError) {
        let map = try Descriptor.open("/proc/\(process)/pagemap", O_RDONLY)
        for extent in extents {
            let there = clinux_any_page_there(map.raw, extent.start, extent.end)
            if there < 0 { throw SystemError.last("pread", "pagemap") }
            if there > 0 {
                throw SystemError(
                    call: "restore", code: EEXIST, subject: "a page from \(extent.start) of process \(pid)")
            }
        }
    }
}

extension CheckpointManager {
    /// Memory below this is not looked through.
    private static let leastMemory: Int64 = Int64(LazyMemory.Bounds.usual.total)

    /// Prepares a restore that lets memory come in behind; nil where that is not wanted, or too little could.
    func lazyRestore(of tree: TreeToRestore) throws(SystemError) -> LazyRestore? {
        guard let memory = try lateMemory(of: tree.snapshot, tree.memory) else { return nil }
        return try LazyRestore(
            memory, of: store.processPath(tree.snapshot.id),
            view: "\(workspace)/lazy-\(tree.sandbox.name)-\(tree.incarnation)",
            directory: tree.sandbox.directory, incarnation: tree.incarnation)
    }

    /// What of a snapshot's memory comes in behind; nil where that is not wanted, or too little could.
    func lateMemory(
        of snapshot: SnapshotTree.Record, _ mode: MemoryMode
    ) throws(SystemError) -> LazyMemory? {
        if mode == .whole { return nil }
        let stored = snapshot.manifest.memory.map { $0.totalBytes - $0.zeroBytes } ?? .max
        if mode == .auto, stored < Self.leastMemory { return nil }
        do throws(CriuImageError) {
            return try LazyMemory(in: store.processPath(snapshot.id), mode == .lazy ? .least : .usual)
        } catch {
            throw error.cause ?? SystemError(call: "parse", code: EINVAL, subject: error.file)
        }
    }
}
