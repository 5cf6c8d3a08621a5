import Glibc
import LinuxSystem
import SandboxRuntime

extension CheckpointManager {
    /// Ends the sandboxes of this root that no record names: a server was killed between the start of their PID 1
    /// and the writing of the record.
    ///
    /// Their writable layer gives them away, which the kernel shows in their mounts (proc_pid_mountinfo(5)).
    func endOrphans() {
        let claimed = Set(all.compactMap { $0.record.process?.pid })
        let mark = ",upperdir=\(root)/sandboxes/"
        for pid in ((try? Files.names(in: "/proc")) ?? []).compactMap(Int32.init) where !claimed.contains(pid)
        {
            guard let name = try? Files.read("/proc/\(pid)/comm"), name == Array("ckpt-init\n".utf8),
                let mounts = try? Files.read("/proc/\(pid)/mountinfo"),
                String(decoding: mounts, as: UTF8.self).contains(mark),
                let process = try? SandboxProcess(pid: pid)
            else { continue }
            report("process \(pid): a sandbox that was never written down; ended")
            process.kill()
            _ = process.ended(within: 5000)
        }
    }
}
