import Criu
import LinuxSystem
public import Messages
import SandboxRuntime

extension CheckpointManager {
    /// Says whether a running sandbox can be saved, without stopping any of its processes.
    ///
    /// A save of the sandbox waits until this is done, and the other way round: a process under CRIU is a traced one.
    public func check(_ name: String) throws(ErrorMessage) -> CheckResult {
        let sandbox = try find(name)
        return try sandbox.exclusively { () throws(ErrorMessage) in
            let running = try sandbox.running(for: "check")
            let root = running.process.pid
            let refusals = TreeInspection.refusals(root: root)
            return CheckResult(
                sandbox: name,
                problems: refusals.map { refusal in
                    SaveProblem(
                        id: refusal.id, pid: refusal.process?.pid, command: refusal.process?.command,
                        message: refusal.description, hint: refusal.hint)
                },
                warnings: TaskAttributeReader.lostPolicies(in: TreeOfTasks(root: root)))
        }
    }
}

extension SaveAttempt {
    /// What a thread finds out about the tree while CRIU starts.
    typealias Inspection = Monitor<[CriuRefusal]?>

    /// Begins to look for what CRIU would refuse.
    ///
    /// When CRIU refuses a tree, it has stopped it, and whoever waited for a time gets EINTR: nobody is asked before it
    /// lets the tree go. So what is sure to be refused had better not reach it.
    func inspect() -> Inspection {
        let found = Inspection(nil)
        let root = running.process.pid
        startThread {
            let refusals = TreeInspection.certain(TreeInspection.refusals(root: root))
            found.with(wake: true) { $0 = refusals }
        }
        return found
    }

    /// Refuses the save for the first thing that was found.
    func checkInspection(_ inspection: Inspection) throws(ErrorMessage) {
        guard let refusal = inspection.wait({ $0 })?.first else { return }
        throw ErrorMessage(
            .cannotSave, "sandbox \(sandbox.name) cannot be saved: \(refusal)", hint: refusal.hint)
    }
}
