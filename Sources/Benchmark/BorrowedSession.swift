import Client
import Glibc
import LinuxSystem
import Messages

/// A session whose bash is driven directly (docs/lending.md), with as little between as can be.
final class BorrowedSession {
    private let borrowing: Borrowing
    private var shell: LentShell

    /// Borrows the session, whose bash must be there, from the server of a root.
    init(root: String, sandbox: String, session: String) throws(ErrorMessage) {
        borrowing = try Borrowing(root: root, sandbox: sandbox, session: session)
        shell = LentShell(
            [borrowing.input, borrowing.control, borrowing.output, borrowing.error, borrowing.text],
            line: borrowing.terms.line, commands: UInt64(borrowing.terms.commands))
    }

    /// Ends the loan.
    func giveBack() { borrowing.end() }

    /// Has bash run a text that ends with 0; milliseconds.
    func run(_ text: [UInt8]) throws(ErrorMessage) -> Double {
        let began = monotonicNanoseconds()
        do throws(SystemError) {
            guard try shell.begin(text) else { throw SystemError(call: "fstat", code: ESTALE) }
            guard try shell.awaitEnd(until: began + Self.patience) == 0 else {
                throw SystemError(call: "exit", code: EINVAL)
            }
            shell.end()
        } catch {
            throw ErrorMessage(.internal, "a call in a borrowed session failed", cause: "\(error)")
        }
        return Double(monotonicNanoseconds() - began) / 1e6
    }

    /// Longest that a call takes, in nanoseconds.
    private static let patience: UInt64 = 30_000_000_000
}
