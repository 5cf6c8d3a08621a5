import Criu
import LinuxSystem
import Messages
import SandboxRuntime

/// The control groups of a tree that is being restored.
///
/// Its processes are born in their groups, and CRIU's worker works outside of them: what it uses is not the sandbox's.
/// The limits are set when all is rebuilt and nothing runs yet: a restore is neither throttled nor refused a process.
final class LimitedRestore {
    let groups: SandboxGroups
    private(set) var warnings: [String] = []
    private let limits: ResourceLimits
    private let control: ControlGroups
    private var root: Int32?

    /// Makes the groups.
    init(_ limits: ResourceLimits, named name: String, in control: ControlGroups) throws(ErrorMessage) {
        self.limits = limits
        self.control = control
        do throws(RuntimeError) { groups = try control.makeGroups(named: name, for: limits) } catch {
            throw error.message
        }
    }

    /// A worker with a cgroup namespace rooted at the groups, which what it restores inherits: CRIU itself is told to
    /// leave cgroups alone.
    func spawnWorker(_ binary: CriuBinary, in network: NetworkNursery?) throws(CriuError) -> CriuWorker {
        try groups.withOpenFiles { (files) throws(CriuError) in
            try groups.withHomes(in: control) { (homes) throws(CriuError) in
                try CriuWorker.spawn(
                    binary,
                    in: CriuSurroundings(
                        network: network?.inside, cgroups: files, homes: homes, ownCgroupNamespace: true))
            }
        }
    }

    /// Acts on what is due at a moment of the restore.
    func act(at notification: CriuNotification) throws(ErrorMessage) {
        switch notification.moment {
        case .setupNamespaces:
            // The root has no children yet (criu/cr-restore.c, restore_root_task).
            guard let pid = notification.pid else { return }
            do throws(SystemError) { try groups.place(pid) } catch {
                throw ErrorMessage("PID 1 cannot join the sandbox's cgroups", error)
            }
        case .postRestore:
            try applyLimits()
        default: break
        }
    }

    /// Sets the limits, when all is rebuilt and nothing runs yet.
    func applyLimits() throws(ErrorMessage) {
        do throws(RuntimeError) { warnings = try groups.apply(limits, in: control) } catch {
            throw error.message
        }
    }
}
