import Criu
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
            let refusals = TreeInspection.refusals(root: running.process.pid)
            return CheckResult(
                sandbox: name,
                problems: refusals.map { refusal in
                    SaveProblem(
                        id: refusal.id, pid: refusal.process?.pid, command: refusal.process?.command,
                        message: refusal.description, hint: refusal.hint)
                })
        }
    }
}
