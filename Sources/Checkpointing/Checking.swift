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
            let running = try sandbox.running(for: "check", evenPaused: true)
            let root = running.process.pid
            let found = TreeInspection.findings(root: root)
            return CheckResult(
                sandbox: name,
                problems: found.refusals.map { refusal in
                    SaveProblem(
                        id: refusal.id, pid: refusal.process?.pid, command: refusal.process?.command,
                        message: refusal.description, hint: refusal.hint)
                },
                warnings: found.losses + TaskAttributeReader.lostPolicies(in: TreeOfTasks(root: root)))
        }
    }
}

extension SaveAttempt {
    /// What a thread finds out about the tree while CRIU starts.
    typealias Inspection = Meanwhile<TreeInspection.Findings, Never>

    /// Begins to look for what CRIU would refuse.
    ///
    /// When CRIU refuses a tree, it has stopped it, and whoever waited for a time gets EINTR: nobody is asked before it
    /// lets the tree go. So what is sure to be refused had better not reach it.
    func inspect() -> Inspection {
        let root = running.process.pid
        return Inspection { () throws(Never) in TreeInspection.findings(root: root) }
    }

    /// Refuses the save for the first thing that was found, and keeps what it loses.
    func checkInspection(_ inspection: Inspection) throws(ErrorMessage) {
        let found = inspection.wait()
        warnings += found.losses
        guard let refusal = TreeInspection.certain(found.refusals).first else { return }
        throw ErrorMessage(
            .cannotSave, "sandbox \(sandbox.name) cannot be saved: \(refusal)", hint: refusal.hint)
    }
}
