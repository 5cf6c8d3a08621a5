import CriuImages
import LinuxSystem
import Messages
import SandboxRuntime

extension CheckpointManager {
    /// Whether CRIU can be spared the namespaces of names and clocks, for each of which it starts a process of its own
    /// while everything stands still: all there is to know of them is a hostname and two clocks.
    ///
    /// With objects of System V in them they are CRIU's.
    func mayLeaveNames(_ attempt: SaveAttempt) -> Bool {
        !attempt.leavesAllToCriu && attempt.sandbox.record.spec.net != .host
            && !attempt.sandbox.with { $0.hasObjects } && SandboxNames.freshSettings != nil
    }
}

extension SaveAttempt {
    /// Begins to look into the namespaces that CRIU does not dump. Every process must stand still.
    func lookAtNames() {
        if leavesNames { looking = SandboxNames.look(at: running.process.pid) }
    }

    /// Takes what was found there.
    func takeNames() throws(ErrorMessage) {
        guard leavesNames, let looking, let settings = SandboxNames.freshSettings else { return }
        do throws(SystemError) {
            let found = try looking.wait()
            if !found.hasObjects {
                names = LeftNames(hostname: found.hostname, domainname: found.domainname, settings: settings)
                return
            }
            sandbox.with { $0.hasObjects = true }
            problem = "it has shared memory, semaphores or queues of System V"
        } catch { problem = error.description }
        throw ErrorMessage(.internal, "the hostname cannot be taken", cause: problem)
    }
}
