import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime

extension CheckpointManager {
    /// Lends a session's bash to somebody who makes its calls without us.
    ///
    /// Throws `.inUse` where a call runs in it or somebody has it already, `.wrongState` where there is no such session yet.
    public func lend(_ name: String, session: String) throws(ErrorMessage) -> any SessionLoan {
        let sandbox = try find(name)
        let running = try sandbox.running(for: "lend a session")
        do throws(CommandError) {
            let lent = try running.channel.lend(
                session, pid: running.process.pid, deadline: Self.loanPatience())
            return Loan(sandbox, session, lent, running.channel)
        } catch { throw Self.told(error) }
    }

    fileprivate static func loanPatience() -> UInt64 { monotonicNanoseconds() + commandPatience }

    fileprivate static func told(_ error: CommandError) -> ErrorMessage {
        guard case .refused(let code, let reason) = error else { return error.message }
        switch code {
        case ENOENT:
            return ErrorMessage(
                .wrongState, reason, hint: "make a call in it first: that starts its bash")
        case EBUSY, ECONNRESET: return ErrorMessage(.inUse, reason)
        case EOPNOTSUPP:
            return ErrorMessage(.wrongState, reason, hint: "make its calls the ordinary way")
        default: return error.message
        }
    }
}

private final class Loan: SessionLoan {
    private let sandbox: LiveSandbox
    private let session: String
    private let lent: LentSession
    private let channel: CommandChannel

    init(_ sandbox: LiveSandbox, _ session: String, _ lent: LentSession, _ channel: CommandChannel) {
        self.sandbox = sandbox
        self.session = session
        self.lent = lent
        self.channel = channel
    }

    var terms: SessionTerms { SessionTerms(line: lent.line, commands: lent.commands) }

    var lastUse: Int64? { channel.lastUse(of: lent) }

    func handOver(_ send: ([Int32]) -> Bool) -> Bool {
        defer { lent.close() }
        return send(lent.descriptors)
    }

    func takeBack(_ call: CallReturn?) throws(ErrorMessage) {
        func nanoseconds(_ milliseconds: Double) -> UInt64 { UInt64(max(0, min(milliseconds, 1e12)) * 1e6) }
        let running = call.map {
            CommandChannel.RunningLoan(
                id: $0.id, commands: $0.commands, elapsed: nanoseconds($0.elapsedMs),
                remaining: $0.remainingMs.map(nanoseconds))
        }
        // Who stands still gives no answer.
        if call != nil { _ = try sandbox.running(for: "hand a call back") }
        do throws(CommandError) {
            try channel.takeBack(
                session, lent, call: running, deadline: CheckpointManager.loanPatience())
        } catch { throw CheckpointManager.told(error) }
    }
}
