import Client
import Glibc
import LinuxSystem
import Messages

/// A session whose bash is driven directly (docs/lending.md), with as little between as can be.
final class BorrowedSession {
    private let borrowing: Borrowing
    private let line: [UInt8]
    private var commands: Int
    private var buffer = [UInt8](repeating: 0, count: 4096)

    /// Borrows the session, whose bash must be there, from the server of a root.
    init(root: String, sandbox: String, session: String) throws(ErrorMessage) {
        borrowing = try Borrowing(root: root, sandbox: sandbox, session: session)
        line = Array(borrowing.terms.line.utf8)
        commands = Int(borrowing.terms.commands)
    }

    /// Ends the loan.
    func giveBack() { borrowing.end() }

    /// Has bash run a text that ends with 0; milliseconds.
    func run(_ shell: [UInt8]) throws(ErrorMessage) -> Double {
        let began = monotonicNanoseconds()
        do throws(SystemError) {
            let text = borrowing.text
            try lock(F_WRLCK)
            var status = stat()
            try retrying("fstat") { fstat(text, &status) }
            guard status.st_mode & S_IWUSR != 0 else { throw SystemError(call: "fstat", code: ESTALE) }
            try retrying("pwrite") { pwrite(text, shell, shell.count, 0) }
            if shell.count < status.st_size { try retrying("ftruncate") { ftruncate(text, shell.count) } }
            try retrying("write") { write(borrowing.input, line, line.count) }
            guard try awaitEnd() else { throw SystemError(call: "exit", code: EINVAL) }
            try lock(F_UNLCK)
        } catch {
            throw ErrorMessage(.internal, "a call in a borrowed session failed", cause: "\(error)")
        }
        return Double(monotonicNanoseconds() - began) / 1e6
    }

    /// Reads until bash is back; whether its status is 0.
    private func awaitEnd() throws(SystemError) -> Bool {
        while true {
            if !lookOut(for: borrowing.control) { try awaitControl() }
            let control = borrowing.control
            let got = try retrying("read") { read(control, &buffer, buffer.count) }
            guard got > 0 else { throw SystemError(call: "read", code: EPIPE) }
            guard let status = status(in: got) else { continue }
            // What it printed by then is there.
            drain(borrowing.output)
            drain(borrowing.error)
            return status == 0
        }
    }

    /// Sleeps until there is something on the control pipe, and makes room for what bash prints until then.
    private func awaitControl() throws(SystemError) {
        var polled = [borrowing.control, borrowing.output, borrowing.error].map {
            pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
        }
        repeat {
            if poll(&polled, 3, 30_000) == 0 { throw SystemError(call: "poll", code: ETIMEDOUT) }
            for output in polled[1...] where output.revents != 0 { drain(output.fd) }
        } while polled[0].revents == 0
    }

    /// The status that the last line of so many bytes tells, where it tells a new number of commands.
    private func status(in count: Int) -> Int? {
        let line = buffer[..<count].split(separator: UInt8(ascii: "\n")).last
        guard let words = line?.split(separator: UInt8(ascii: " ")), words.count == 2,
            let status = Self.number(words[0]), let number = Self.number(words[1]), number > commands
        else { return nil }
        commands = number
        return status
    }

    private static func number(_ digits: ArraySlice<UInt8>) -> Int? {
        digits.reduce(digits.isEmpty ? nil : 0) { value, digit in
            guard let value, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            return 10 * value + Int(digit - UInt8(ascii: "0"))
        }
    }

    private func drain(_ descriptor: Int32) {
        while read(descriptor, &buffer, buffer.count) == buffer.count {}
    }

    private func lock(_ kind: Int32) throws(SystemError) {
        var lock = flock()
        lock.l_type = Int16(kind)
        let operation: Int32 = 37  // F_OFD_SETLK
        try retrying("fcntl") { fcntl(borrowing.text, operation, &lock) }
    }
}
