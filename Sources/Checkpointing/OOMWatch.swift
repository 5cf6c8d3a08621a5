import Glibc
import Messages
import SandboxRuntime

/// Tells whether the kernel killed something in a sandbox for want of memory while a command ran.
///
/// The kernel counts by group and not by process: of two commands that were killed at one time, one for want of memory,
/// both are told so.
struct OOMWatch: Sendable {
    private let sandbox: LiveSandbox
    private let before: UInt64?

    /// Begins to watch.
    init(_ sandbox: LiveSandbox) {
        self.sandbox = sandbox
        before = Self.kills(sandbox)
    }

    /// Whether there is anything to see: the sandbox's memory is counted.
    var isWatching: Bool { before != nil }

    /// Whether that is what ended the command: by SIGKILL, as a shell tells it of its child too.
    func sawKill(of result: ExecResult) -> Bool {
        guard let before, result.signal == SIGKILL || result.exitCode == 128 + SIGKILL, !result.timedOut
        else {
            return false
        }
        guard (Self.kills(sandbox) ?? before) > before else { return false }
        sandbox.noticeKills()
        return true
    }

    private static func kills(_ sandbox: LiveSandbox) -> UInt64? {
        sandbox.with { $0.running?.groups }?.oomKills
    }
}
