import Client
import CommandInterface
import Glibc
import LinuxSystem
import Messages

extension Command {
    static let debug = Command(
        CommandDescription(
            "debug", "open a process of a snapshot in gdb, stopped at the snapshot's instant",
            discussion: [
                "The snapshot is restored into a fresh sandbox in which every process stands still, gdb is "
                    + "attached to one of them, and when gdb ends the sandbox is thrown away: nothing that "
                    + "happens in it is kept. Called again it starts from the same instant, with the same "
                    + "addresses, pids and clocks.",
                "Without --pid the process that crashed is meant, in a snapshot that a crash made, else the only "
                    + "process there is. The other processes stay stopped until gdb's continue-all, a command of "
                    + "ours, lets them all go on.",
                "gdb runs on this machine and finds programs and libraries in the sandbox; with --inside it is the "
                    + "sandbox's own. Arguments after -- are gdb's.",
            ],
            operands: [
                OperandDescription("SNAPSHOT", .snapshot),
                OperandDescription("GDB-ARGUMENT", .program, .optionalRest),
            ],
            options: [
                OptionDescription(
                    "pid", short: "p", value: "PID", .number(2...Int(Int32.max)),
                    "The process, by its pid inside the sandbox"),
                OptionDescription(
                    "exec", short: "x", value: "COMMAND", .text, repeats: true,
                    "Run this gdb command and end, for scripts; may be given several times"),
                OptionDescription("inside", "Run the sandbox's own gdb, inside of it"),
            ],
            examples: [
                Example("ckpt debug crash-main-14", "Look at what crashed"),
                Example("ckpt debug ready --pid 14", "Step through process 14 from where it was saved"),
                Example(
                    "ckpt debug ready --pid 14 --exec 'thread apply all bt' --exec 'info locals'",
                    "Print all stacks and end"),
                Example("ckpt debug ready --pid 14 -- -x script.gdb", "With arguments for gdb"),
            ],
            exitCodes: [ExitCode("other", "gdb's own")],
            triedAs: ["gdb"], usageLines: ["ckpt debug [options] SNAPSHOT [-- GDB-ARGUMENT…]"])
    ) { call in
        let client = call.client()
        let reference = call.words.operand("SNAPSHOT")
        let session = try call.waiting("restoring \(reference)", interrupted: .givenUp) {
            try client.debug(DebugRequest(snapshot: reference))
        }
        // Should this process be killed, the server ends the session.
        startThread { try? call.client().hold(session.sandbox) }
        defer { try? client.remove(session.sandbox, force: true) }
        let process = try chosen(call, session)
        call.console.note("sandbox \(session.sandbox), process \(process.pid): \(process.command)")
        if call.words.has("inside") { return try inside(call, client, session, process) }
        return try outside(call, session, process)
    }

    private static func chosen(_ call: Invocation, _ session: DebugSession) throws -> DebuggedProcess {
        let wanted = call.words.number("pid") ?? session.crash?.pid
        let found = session.processes.filter { wanted == nil || $0.pid == wanted }
        if found.count == 1 { return found[0] }
        let list = session.processes.map { "\($0.pid) (\($0.command))" }.joined(separator: ", ")
        throw ErrorMessage(
            .badRequest,
            wanted.map { "snapshot \(session.snapshot) has no process \($0)" }
                ?? "snapshot \(session.snapshot) has \(session.processes.count) processes",
            hint: list.isEmpty ? "only ckpt's own PID 1 is in it" : "--pid, one of: \(list)")
    }

    /// The commands every session begins with.
    private static func commands(_ call: Invocation, goOn: String) -> [String] {
        let scripted = call.words.values("exec")
        var words = ["-q"]
        if !scripted.isEmpty { words.append("-batch") }
        words += ["-ex", "python gdb.execute('define continue-all\\nshell \(goOn)\\ncontinue\\nend')"]
        for command in scripted { words += ["-ex", command] }
        return words
    }

    private static func outside(
        _ call: Invocation, _ session: DebugSession, _ process: DebuggedProcess
    ) throws -> Int32 {
        let others = session.processes.map { "\($0.hostPid)" }.joined(separator: " ")
        let root = "/proc/\(process.hostPid)/root"
        let words =
            [
                "gdb", "-iex", "set sysroot \(root)", "-iex", "set auto-load safe-path /", "-p",
                "\(process.hostPid)",
            ]
            + commands(call, goOn: "kill -CONT \(others)") + call.words.operands("GDB-ARGUMENT")
        return try runHere(words)
    }

    private static func inside(
        _ call: Invocation, _ client: Client, _ session: DebugSession, _ process: DebuggedProcess
    ) throws -> Int32 {
        let others = session.processes.map { "\($0.pid)" }.joined(separator: " ")
        let words =
            ["gdb", "-p", "\(process.pid)"] + commands(call, goOn: "kill -CONT \(others)")
            + call.words.operands("GDB-ARGUMENT")
        let terminal = isatty(STDIN_FILENO) == 1
        return try ExecOptions.run(
            ExecRequest(argv: words), in: session.sandbox, client, interactive: true, tty: terminal
        ).exitCode
    }

    /// Runs a program with our own terminal and waits for it; Ctrl-C is its own affair meanwhile.
    private static func runHere(_ words: [String]) throws -> Int32 {
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var defaults = sigset_t()
        sigemptyset(&defaults)
        for number in [SIGINT, SIGQUIT, SIGPIPE] { sigaddset(&defaults, number) }
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
        signal(SIGINT, SIG_IGN)
        signal(SIGQUIT, SIG_IGN)
        let arguments = words.map { strdup($0) } + [nil]
        defer { arguments.forEach { free($0) } }
        var pid = pid_t()
        let code = posix_spawnp(&pid, words[0], nil, &attributes, arguments, environ)
        guard code == 0 else {
            throw ErrorMessage(
                .notInstalled, "\(words[0]) cannot be started", hint: "apt-get install \(words[0])",
                cause: String(cString: strerror(code)))
        }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f)
    }
}
