import Glibc
import LinuxSystem
import Messages
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
            mended("process \(pid) was a sandbox that was never written down; ended")
            process.kill()
            _ = process.ended(within: 5000)
        }
        endStrayForwarders()
    }

    /// The same for what leads out of sandboxes: the path of its pid file gives it away.
    private func endStrayForwarders() {
        let claimed = Set(all.compactMap { $0.record.wayOut?.process?.pid })
        let mark = "\(root)/sandboxes/"
        for pid in ((try? Files.names(in: "/proc")) ?? []).compactMap(Int32.init) where !claimed.contains(pid)
        {
            // Its name is that of the build for this processor: passt.avx2.
            guard let name = try? Files.read("/proc/\(pid)/comm"), name.starts(with: Array("pas".utf8)),
                let words = try? Files.read("/proc/\(pid)/cmdline"),
                words.split(separator: 0).contains(where: {
                    String(decoding: $0, as: UTF8.self).hasPrefix(mark)
                }),
                let process = try? SandboxProcess(pid: pid)
            else { continue }
            mended("process \(pid) led out of a sandbox that is gone; ended")
            process.kill()
            _ = process.ended(within: 5000)
        }
    }
}
