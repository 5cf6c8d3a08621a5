import Foundation
import Glibc

/// How a command ended and what it printed.
struct CommandResult: CustomStringConvertible {
    /// The exit code, or 128 + N when signal N killed it.
    var status: Int32
    var stdoutData: Data
    var stderrData: Data
    /// The deadline passed and the command was killed.
    var overdue: Bool

    var stdout: String { String(decoding: stdoutData, as: UTF8.self) }
    var stderr: String { String(decoding: stderrData, as: UTF8.self) }
    /// stdout without the newlines at its end.
    var line: String {
        var text = Substring(stdout)
        while text.hasSuffix("\n") { text = text.dropLast() }
        return String(text)
    }
    var lines: [String] { stdout.split(separator: "\n").map(String.init) }

    var description: String {
        """
        status \(status)\(overdue ? " (overdue)" : "")
        stdout: \(stdout.prefix(1500))
        stderr: \(stderr.prefix(1500))
        """
    }
}

/// A command under way on the host, with its three streams on pipes.
///
/// `Foundation.Process` costs 45 ms a spawn, which hundreds of spawns would feel; this is posix_spawn.
final class RunningCommand: @unchecked Sendable {
    // The lock guards everything below that the pump thread and the test share.
    private let lock = NSLock()
    private var collected: (out: Data, err: Data) = (Data(), Data())
    private var waitStatus: Int32?
    private var stdinDescriptor: Int32
    let pid: pid_t
    private let pumps = DispatchGroup()

    /// Starts `argv`, looked up in PATH, with `environment` over the test's own.
    init(_ argv: [String], environment: [String: String] = [:], stdin: Data? = Data()) throws {
        let input = try Self.pipe()
        let output = try Self.pipe()
        let errors = try Self.pipe()
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, input.read, 0)
        posix_spawn_file_actions_adddup2(&actions, output.write, 1)
        posix_spawn_file_actions_adddup2(&actions, errors.write, 2)
        var merged = ProcessInfo.processInfo.environment
        merged.merge(environment) { $1 }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A test runner may ignore or block signals; the command starts from the defaults.
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigdefault(&attributes, &all)
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
        var child: pid_t = 0
        let failure = Self.withCStrings(argv) { arguments in
            Self.withCStrings(merged.map { "\($0)=\($1)" }) { variables in
                posix_spawnp(&child, arguments[0]!, &actions, &attributes, arguments, variables)
            }
        }
        for end in [input.read, output.write, errors.write] { close(end) }
        guard failure == 0 else {
            for end in [input.write, output.read, errors.read] { close(end) }
            throw HarnessError("cannot start \(argv[0]): \(String(cString: strerror(failure)))")
        }
        pid = child
        stdinDescriptor = input.write
        pump(output.read) { $0.out.append($1) }
        pump(errors.read) { $0.err.append($1) }
        if let stdin {
            let writer = input.write
            stdinDescriptor = -1
            Thread.detachNewThread {
                Self.writeAll(stdin, to: writer)
                close(writer)
            }
        }
    }

    /// What it has printed so far.
    var output: String { lock.withLock { String(decoding: collected.out, as: UTF8.self) } }
    var errors: String { lock.withLock { String(decoding: collected.err, as: UTF8.self) } }

    /// Sends more on stdin (only when started with `stdin: nil`).
    func write(_ text: String) { Self.writeAll(Data(text.utf8), to: stdinDescriptor) }

    /// Ends stdin.
    func closeStdin() {
        if stdinDescriptor >= 0 { close(stdinDescriptor) }
        stdinDescriptor = -1
    }

    func signal(_ number: Int32) { kill(pid, number) }

    /// Whether it still runs.
    var isRunning: Bool { reap(WNOHANG) == nil }

    /// Waits for its end; kills it once `deadline` seconds have passed.
    func wait(deadline: Double = 60) -> CommandResult {
        var overdue = false
        let limit = Date(timeIntervalSinceNow: deadline)
        var pause: UInt32 = 500
        while reap(WNOHANG) == nil {
            if Date() > limit {
                overdue = true
                kill(pid, SIGKILL)
                _ = reap(0)
                break
            }
            usleep(pause)
            pause = min(pause * 2, 10_000)
        }
        closeStdin()
        // A daemon that kept a pipe's end open would hold this for ever: that is a failure as well.
        if pumps.wait(timeout: .now() + 10) == .timedOut { overdue = true }
        let status = lock.withLock { waitStatus! }
        let code = status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
        return lock.withLock {
            CommandResult(
                status: code, stdoutData: collected.out, stderrData: collected.err, overdue: overdue)
        }
    }

    private func reap(_ flags: Int32) -> Int32? {
        lock.withLock {
            if let waitStatus { return waitStatus }
            var status: Int32 = 0
            if waitpid(pid, &status, flags) == pid { waitStatus = status }
            return waitStatus
        }
    }

    private func pump(
        _ descriptor: Int32, _ keep: @escaping @Sendable (inout (out: Data, err: Data), Data) -> Void
    ) {
        pumps.enter()
        Thread.detachNewThread { [self] in
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            while true {
                let count = read(descriptor, &buffer, buffer.count)
                if count < 0 && errno == EINTR { continue }
                if count <= 0 { break }
                let piece = Data(buffer[0..<count])
                lock.withLock { keep(&collected, piece) }
            }
            close(descriptor)
            pumps.leave()
        }
    }

    private static func pipe() throws -> (read: Int32, write: Int32) {
        var ends: [Int32] = [-1, -1]
        guard pipe2(&ends, O_CLOEXEC) == 0 else { throw HarnessError("pipe2: errno \(errno)") }
        return (ends[0], ends[1])
    }

    private static func writeAll(_ data: Data, to descriptor: Int32) {
        var mask = sigset_t()
        sigemptyset(&mask)
        sigaddset(&mask, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &mask, nil)
        var rest = data
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            if count <= 0 { return }
            rest = rest.dropFirst(count)
        }
    }

    private static func withCStrings<R>(
        _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> R
    ) -> R {
        var pointers = strings.map { strdup($0) } + [nil]
        defer { pointers.forEach { free($0) } }
        return body(&pointers)
    }
}

/// Runs a command on the host to its end.
func run(
    _ argv: [String], environment: [String: String] = [:], stdin: Data = Data(), deadline: Double = 60
) throws -> CommandResult {
    try RunningCommand(argv, environment: environment, stdin: stdin).wait(deadline: deadline)
}

/// What went wrong in a test's own machinery, or a step of it that had to succeed.
struct HarnessError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Tries `attempt` until it holds or `seconds` have passed; returns whether it held.
func eventually(within seconds: Double = 30, _ attempt: () throws -> Bool) rethrows -> Bool {
    let limit = Date(timeIntervalSinceNow: seconds)
    while true {
        if try attempt() { return true }
        if Date() > limit { return false }
        usleep(20_000)
    }
}
