import Glibc
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

/// What a sandbox's upper held when it was last captured.
struct CapturedUpper: Sendable {
    /// The layer it became, one or none.
    let layers: [String]
}

extension CheckpointManager {
    func capture(_ attempt: SaveAttempt) throws(ErrorMessage) -> CapturedUpper {
        var pid = pid_t()
        let words: [String] = ["cp", "-a", attempt.running.root.upper, attempt.staging.layerPath]
        let argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        posix_spawn(&pid, "/bin/cp", nil, nil, argv, nil)
        waitpid(pid, nil, 0)
        return CapturedUpper(layers: [attempt.staging.layerID])
    }
}
