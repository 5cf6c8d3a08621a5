import CLinux
import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime

extension CheckpointManager {
    /// How long a request waits for a sandbox that is being saved, in nanoseconds.
    static let commandPatience: UInt64 = 60_000_000_000
    /// Runs a command to its end and returns its output.
    public func exec(
        _ name: String, _ request: ExecRequest, cancelled: Cancellation
    ) throws(ErrorMessage) -> ExecResult {
        let input = try Self.stdin(of: request)
        let limit = min(request.maxOutput ?? .max, ExecRequest.bufferedOutput)
        let sandbox = try find(name)
        let watch = OOMWatch(sandbox)
        let began = monotonicNanoseconds()
        let direct = callDirectly(sandbox, request)
        let running: any FollowedCommand
        if let direct {
            running = direct
        } else {
            running = try start(sandbox, request, stdin: !input.isEmpty, announced: false)
        }
        let command = LimitedCommand(running, limit: limit, watch: watch)
        if !input.isEmpty {
            try command.write(offset: 0, input)
            try command.closeStdin()
        }
        var output = BufferedOutput(
            from: [.stdout: request.stdoutOffset ?? 0, .stderr: request.stderrOffset ?? 0])
        while true {
            switch command.next(deadline: monotonicNanoseconds() + 250_000_000) {
            case .output(let stream, let offset, let bytes):
                let end = offset + UInt64(bytes.count)
                // At the limit the rest has to flow, which nobody gets.
                if let taken = output.take(stream, offset: offset, bytes) ?? (end == limit ? end : nil) {
                    command.acknowledge(stream, upTo: taken)
                }
            case .exited(let result):
                // Who gave an id may ask for the exit once more; PID 1 keeps it for a while.
                if request.id == nil { running.forget() }
                if direct == nil { noteCall(sandbox, request, since: began) }
                return output.put(into: result)
            case .failed(let error):
                throw error
            case .stdinTaken, nil:
                if cancelled.isCancelled {
                    if request.session == nil { try? command.signal(SIGKILL) } else { Self.endCall(command) }
                    running.forget()
                    throw ErrorMessage(.cancelled, "the command was given up: the caller went away")
                }
            }
        }
    }

    /// Whether the server may make a call itself: in a session, and by nobody to be asked for once more.
    private static func isPlainCall(_ request: ExecRequest) -> Bool {
        request.session != nil && request.id == nil && request.user == nil && request.tty != true
            && request.stdin?.isEmpty != false && request.saveOnCrash != true
    }

    /// Longest text of a call that the server makes itself, in bytes.
    private static let directText = 65536

    /// A call that PID 1 need not be asked for, begun; nil for any other.
    private func callDirectly(_ sandbox: LiveSandbox, _ request: ExecRequest) -> DirectCall? {
        guard Self.isPlainCall(request), let session = request.session else { return nil }
        let (running, isWatched) = sandbox.with { ($0.running, $0.record.spec.saveOnCrash) }
        guard let running, !isWatched, request.timeout.map({ $0 > 0 && $0 < 1e9 }) != false else {
            return nil
        }
        do throws(CommandError) {
            let words = try Self.arguments(of: request, pid: running.process.pid)
            guard let text = words.first, text.utf8.count <= Self.directText, !text.utf8.contains(0) else {
                return nil
            }
            return running.channel.callDirectly(
                text, in: session, id: Self.madeUpID(),
                timeoutMilliseconds: Self.milliseconds(request.timeout),
                pid: running.process.pid)
        } catch { return nil }
    }

    /// Notes that PID 1 made a call which the server might have made.
    private func noteCall(_ sandbox: LiveSandbox, _ request: ExecRequest, since began: UInt64) {
        guard Self.isPlainCall(request), let session = request.session else { return }
        sandbox.with { $0.running }?.channel.noteCall(in: session, took: monotonicNanoseconds() - began)
    }

    private static func milliseconds(_ seconds: Double?) -> UInt64? {
        seconds.map { UInt64(max($0 * 1000, 1)) }
    }

    /// Ends a session's call that nobody waits for any more; its bash goes on.
    ///
    /// A bash whose child died of SIGKILL takes a SIGINT of its own for the child's business and goes on with the text,
    /// so the children get SIGINT first.
    private static func endCall(_ command: LimitedCommand) {
        for signal in [SIGINT, SIGINT, SIGKILL, SIGINT, SIGKILL, SIGINT] {
            guard (try? command.signal(signal)) != nil else { return }
            let deadline = monotonicNanoseconds() + 300_000_000
            while monotonicNanoseconds() < deadline {
                switch command.next(deadline: deadline) {
                case .output(let stream, let offset, let bytes):
                    command.acknowledge(stream, upTo: offset + UInt64(bytes.count))
                case .exited, .failed: return
                case .stdinTaken, nil: break
                }
            }
        }
    }

    /// Starts a command, or takes up the one with the request's id, for somebody who follows its streams.
    public func attach(_ name: String, _ request: ExecRequest) throws(ErrorMessage) -> any AttachedCommand {
        let sandbox = try find(name)
        let watch = OOMWatch(sandbox)
        let command = try start(sandbox, request, stdin: request.interactive == true, announced: true)
        do throws(CommandError) {
            try command.waitUntilStarted(deadline: monotonicNanoseconds() + Self.commandPatience)
        } catch { throw error.message }
        guard request.maxOutput != nil || watch.isWatching else { return command }
        return LimitedCommand(command, limit: request.maxOutput ?? .max, watch: watch)
    }

    func start(
        _ sandbox: LiveSandbox, _ request: ExecRequest, stdin: Bool, announced: Bool
    ) throws(ErrorMessage) -> RunningCommand {
        // PID 1 sees to it itself.
        let running = try sandbox.running(for: "run a command", sparesShell: true)
        noteFirst(request, in: sandbox)
        if stdin, request.session != nil { throw Self.noSessionStdin }
        do throws(CommandError) {
            var spec = try Self.commandSpec(for: request, in: sandbox.record.spec, pid: running.process.pid)
            spec.stdin = stdin
            spec.announced = announced
            return try running.channel.start(
                spec, from: (request.stdoutOffset ?? 0, request.stderrOffset ?? 0),
                deadline: monotonicNanoseconds() + Self.commandPatience)
        } catch {
            // PID 1 closes its line some milliseconds before it can be seen to have ended.
            if case .disconnected = error { _ = running.process.ended(within: 1000) }
            _ = try sandbox.running(for: "run a command")
            throw error.message
        }
    }

    /// The command with everything decided that the request leaves open.
    static func commandSpec(
        for request: ExecRequest, in sandbox: SandboxSpec, pid: Int32
    ) throws(CommandError) -> CommandSpec {
        let user =
            try (request.user ?? sandbox.user).map { (text) throws(CommandError) in
                try SandboxUser.find(text, inSandboxOf: pid)
            } ?? .root
        if let timeout = request.timeout, !(timeout > 0 && timeout < 1e9) {
            throw .badRequest("a timeout is a positive number of seconds: \(timeout)")
        }
        var spec = CommandSpec(
            id: request.id ?? madeUpID(), arguments: try arguments(of: request, pid: pid))
        spec.user = user
        spec.session = request.session
        spec.timeoutMilliseconds = milliseconds(request.timeout)
        if request.tty == true {
            spec.terminal = CommandSpec.Terminal(rows: request.rows ?? 24, columns: request.columns ?? 80)
        }
        spec.workingDirectory = request.cwd ?? sandbox.workdir ?? (user.home.isEmpty ? "/" : user.home)
        spec.anyDirectory = request.cwd == nil && sandbox.workdir == nil
        spec.watched = sandbox.saveOnCrash ? .sandbox : request.saveOnCrash == true ? .command : .nothing
        spec.environment = environment(user: user, tty: request.tty == true, sandbox.env, request.env ?? [:])
        return spec
    }

    /// The words to execute; for a session the one text.
    private static func arguments(of request: ExecRequest, pid: Int32) throws(CommandError) -> [String] {
        guard request.command == nil || request.argv.isEmpty else {
            throw .badRequest("argv and command are both given")
        }
        switch request.command {
        case .text(let text) where request.session == nil: return [shell(inSandboxOf: pid), "-c", text]
        case .text(let text): return [text]
        case .list(let words):
            return request.session == nil ? words : [words.joined(separator: " ")]
        case nil:
            return request.session == nil ? request.argv : [request.argv.joined(separator: " ")]
        }
    }

    private static func shell(inSandboxOf pid: Int32) -> String {
        let bash = "/bin/bash"
        guard let root = try? Descriptor.open("/proc/\(pid)/root", O_PATH | O_DIRECTORY) else {
            return "/bin/sh"
        }
        let number = clinux_open_in_root(root.raw, bash, O_PATH | O_CLOEXEC)
        if number < 0 { return "/bin/sh" }
        _ = Descriptor(owning: number)
        return bash
    }

    private static func environment(
        user: SandboxUser, tty: Bool, _ layers: [String: String]...
    ) -> [String] {
        var variables = [
            "PATH": CommandSpec.path, "HOME": user.home, "SHELL": user.shell, "USER": user.name,
            "LOGNAME": user.name,
        ].filter { !$0.value.isEmpty }
        if tty { variables["TERM"] = "xterm-256color" }
        for layer in layers { variables.merge(layer) { $1 } }
        // LC_CTYPE would prevail over a LANG that somebody chose.
        if variables["LANG"] == nil, variables["LC_CTYPE"] == nil {
            variables["LC_CTYPE"] = CommandSpec.locale
        }
        return variables.map { "\($0.key)=\($0.value)" }.sorted()
    }

    static func madeUpID() -> String {
        let number = String(UInt64.random(in: 0...UInt64.max), radix: 16)
        return String(repeating: "0", count: 16 - number.count) + number
    }

    /// The stdin of a session's bash is where its text comes from.
    private static let noSessionStdin = ErrorMessage(
        .badValue, "a call in a session has no stdin",
        hint: "leave it out, or redirect from a file in the text: read line < /root/input")

    private static func stdin(of request: ExecRequest) throws(ErrorMessage) -> [UInt8] {
        guard let text = request.stdin, !text.isEmpty else { return [] }
        guard let bytes = decodeBase64(text) else { throw ErrorMessage(.badValue, "stdin is no base64") }
        return bytes
    }
}
