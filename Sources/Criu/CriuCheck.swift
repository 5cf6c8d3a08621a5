import Glibc
import LinuxSystem

extension CriuBinary {
    /// Runs `criu check`: what CRIU misses of this kernel, in its own words; empty when it has what it must.
    ///
    /// Throws `CriuError` with `.workerFailed` when it cannot be run, or says nothing within 30 seconds.
    public func checkKernel() throws(CriuError) -> [String] {
        let memory = memfd_create("criu-check", UInt32(MFD_CLOEXEC))
        guard memory >= 0 else {
            throw CriuError(
                .workerFailed, "criu check cannot be run", cause: SystemError.last("memfd_create"))
        }
        let output = Descriptor(owning: memory)
        let pid = try spawnCheck(output: output.raw)
        guard let status = Self.wait(for: pid, seconds: 30) else {
            throw CriuError(.workerFailed, "criu check does not end")
        }
        if status == 0 { return [] }
        lseek(output.raw, 0, SEEK_SET)
        let said = String(decoding: (try? output.readAll()) ?? [], as: UTF8.self).split(separator: "\n")
        // `Error (criu/cr-check.c:123): what is missing`
        let errors = said.filter { $0.hasPrefix("Error") }.map { line in
            let text = line.drop { $0 != ")" }.drop { ") :".contains($0) }
            return String(text.isEmpty ? line : text)
        }
        return errors.isEmpty ? [said.last.map(String.init) ?? "criu check ended with \(status)"] : errors
    }

    private func spawnCheck(output: Int32) throws(CriuError) -> pid_t {
        do throws(SystemError) {
            return try spawnProgram([path, "check", "--no-default-config"]) { actions in
                posix_spawn_file_actions_adddup2(&actions, output, 1)
                posix_spawn_file_actions_adddup2(&actions, output, 2)
            }
        } catch {
            throw CriuError(.workerFailed, "criu check cannot be run", cause: error)
        }
    }

    /// The child's exit status; nil when it had to be killed.
    private static func wait(for pid: pid_t, seconds: UInt64) -> Int32? {
        let deadline = monotonicNanoseconds() + seconds * 1_000_000_000
        var status: Int32 = 0
        while waitpid(pid, &status, WNOHANG) == 0 {
            guard monotonicNanoseconds() < deadline else {
                kill(pid, SIGKILL)
                reap(pid)
                return nil
            }
            usleep(2_000)
        }
        return status
    }
}
