import CriuImages
import LinuxSystem
import Messages
import SandboxRuntime

extension CheckpointManager {
    /// Whether CRIU can be spared the namespaces of names and clocks, for each of which it starts a process of its own
    /// while everything stands still: all there is to know of them is a hostname and two clocks.
    ///
    /// With objects of System V in them they are CRIU's; so are those of a sandbox whose root may do more than others': it
    /// can mount /proc afresh and change the settings of IPC, and give itself any hostname.
    func mayLeaveNames(_ attempt: SaveAttempt) -> Bool {
        let spec = attempt.sandbox.record.spec
        return !attempt.leavesAllToCriu && spec.net != .host
            && spec.security.capabilities & Capability.mask(["SYS_ADMIN"]) == 0
            && !attempt.sandbox.with { $0.hasObjects } && SandboxNames.freshSettings != nil
    }
}

extension SaveAttempt {
    /// Begins to look into the namespaces that CRIU does not dump: while CRIU starts, and again when every process stands
    /// still.
    func lookAtNames() {
        if leavesNames { looking = SandboxNames.look(at: running.process.pid) }
    }

    /// Gives the save up where there is more in them than names. Before anything stands still: a process that has such
    /// memory mapped CRIU would refuse later, and its waits would end with EINTR.
    func checkNames() throws(ErrorMessage) {
        guard foundObjects else { return }
        problem = "it has shared memory, semaphores or queues of System V"
        throw ErrorMessage(.internal, "the names cannot be taken", cause: problem)
    }

    /// Takes what was found there when every process stood still.
    func takeNames() throws(ErrorMessage) {
        guard leavesNames, let looking, let settings = SandboxNames.freshSettings else { return }
        try checkNames()
        do throws(SystemError) {
            let found = try looking.wait()
            names = LeftNames(hostname: found.hostname, domainname: found.domainname, settings: settings)
        } catch {
            problem = error.description
            throw ErrorMessage(.internal, "the names cannot be taken", cause: problem)
        }
    }

    /// Whether there are objects of System V. The sandbox's later saves know.
    var foundObjects: Bool {
        guard let looking, (try? looking.wait())?.hasObjects == true else { return false }
        sandbox.with { $0.hasObjects = true }
        return true
    }
}
