import Client
import CommandInterface
import Glibc
import Messages

extension Command {
    static let exec = Command(
        CommandDescription(
            "exec", "run a command in a sandbox and exit with its code",
            discussion: [
                "The command is a fresh process with stdout and stderr apart. A timeout kills it and what it "
                    + "started, and nothing else; what it printed is kept.",
                "With --session the words are text for a long-lived bash of that name: its directory, "
                    + "variables, functions and jobs stay from call to call, and through save, restore and "
                    + "fork. --cwd, --env and --user are what its first command starts it with, and nothing to "
                    + "later ones. With -i and no words the text is read from stdin.",
                "With -d the command is a job: its id is printed and nothing waits for it. It runs on through "
                    + "saves, restores and forks; see ckpt jobs and ckpt job.",
                "Options after CMD are its own; -- before it is only needed where CMD itself starts with a "
                    + "dash. With --json the output comes as one value when the command has ended.",
            ],
            operands: [
                OperandDescription("NAME", .sandbox), OperandDescription("CMD", .program, .optionalRest),
            ],
            options: ExecOptions.streams
                + [
                    OptionDescription(
                        "session", value: "S", .newSandbox, "Let the bash of this session run the text"),
                    OptionDescription("cwd", short: "w", value: "D", .insidePath, "Start in this directory"),
                    OptionDescription(
                        "env", short: "e", value: "K[=V]", .variable, repeats: true,
                        "Set a variable for the command; without =V to its value here"),
                    OptionDescription(
                        "user", short: "u", value: "U", .text,
                        "Run as this user: name, uid, name:group or uid:gid"),
                    ExecOptions.timeout,
                    ExecOptions.detach, ExecOptions.shell,
                    ExecOptions.maxOutput,
                    OptionDescription(
                        "save-on-crash",
                        "Save the instant the command, or what it started, dies of a fatal signal, tagged crash-…"
                    ),
                ],
            examples: [
                Example("ckpt exec main -- make test", "Run a command and take its exit code"),
                Example("ckpt exec -it main bash", "Work in the sandbox"),
                Example("ckpt exec -d main -- ./server", "Leave it running; ckpt job tells what it prints"),
                Example("ckpt exec --shell main 'cd /srv && ls | wc -l'", "Let a shell read the text"),
                Example("ckpt exec --session s main 'cd /srv; export A=1'", "Say something to a session"),
                Example(
                    "ckpt exec --timeout 30 --user www-data main ./step", "With a limit, as another user"),
            ],
            exitCodes: ExecOptions.exitCodes, triedAs: ["sh", "shell", "attach", "enter", "ssh"],
            usageLines: [
                "ckpt exec [options] NAME [--] CMD…", "ckpt exec -i --session S [options] NAME < script",
            ])
    ) { call in
        let words = call.words
        var request = ExecRequest(argv: words.operands("CMD"))
        request.session = words.value("session")
        request.cwd = words.value("cwd")
        let env = words.values("env").reduce(into: [:]) { SpecOptions.set($1, in: &$0) }
        request.env = env.isEmpty ? nil : env
        request.user = words.value("user")
        request.timeout = words.seconds("timeout")
        request.maxOutput = try ExecOptions.maxOutput(words)
        request.saveOnCrash = words.has("save-on-crash") ? true : nil
        var interactive = words.has("interactive")
        if request.argv.isEmpty {
            guard request.session != nil, interactive else {
                throw UsageError("missing CMD: exec needs a command to run", command: "exec")
            }
            request.argv = [try readStandardInput()]
            interactive = false
        }
        if request.session != nil, interactive {
            throw UsageError(
                "a call in a session has no stdin: with -i its text comes from there, so leave out CMD or -i",
                command: "exec")
        }
        if words.has("shell") { request = ExecOptions.textForShell(request) }
        let name = words.operand("NAME")
        let client = call.client()
        if words.has("detach") {
            guard !interactive else {
                throw UsageError("a job has no stdin: leave out -i or -d", command: "exec")
            }
            request.tty = words.has("tty") ? true : nil
            let job = try client.startJob(name, request)
            try call.console.print(job, lines: [job.id])
            return 0
        }
        if call.console.json {
            let result = try bufferedExec(client, name, request, interactive: interactive)
            try call.console.printJSON(result)
            return result.exitCode
        }
        let earlier = request.saveOnCrash == true ? crashes(in: name, client).map(\.id) : nil
        let result = try ExecOptions.run(
            request, in: name, client, interactive: interactive, tty: words.has("tty"))
        ExecOptions.noteEnd(of: result, call.console)
        if let earlier { noteCrashes(in: name, notIn: Set(earlier), client, call.console) }
        return result.exitCode
    }

    private static func crashes(in name: String, _ client: Client) -> [SnapshotInfo] {
        let all = (try? client.tree().snapshots) ?? []
        return all.filter { $0.sandbox == name && $0.crash != nil }
    }

    /// Says how what crashed while a command ran can be looked at, the command's end being no measure:
    /// one that timed out has no crash, and a shell ends well whose program crashed.
    private static func noteCrashes(
        in name: String, notIn earlier: Set<String>, _ client: Client, _ console: Console
    ) {
        for crash in crashes(in: name, client) where !earlier.contains(crash.id) {
            let tag = crash.tags.first ?? crash.id
            console.note("saved as \(tag); look at it with: ckpt debug \(tag)")
        }
    }
}

/// What `exec` and `run` have in common.
enum ExecOptions {
    static let streams = [
        OptionDescription("interactive", short: "i", "Pass stdin on"),
        OptionDescription("tty", short: "t", "Give the command a terminal; stderr comes with stdout then"),
    ]
    static let detach = OptionDescription(
        "detach", short: "d", "Start it as a job in the background and print the job's id")
    static let shell = OptionDescription(
        "shell", "Hand the words to a shell as text: bash where there is one, else /bin/sh")
    static let timeout = OptionDescription(
        "timeout", value: "SEC", .seconds, "Kill the command and what it started after so many seconds")
    static let maxOutput = OptionDescription(
        "max-output", value: "SIZE", .spec(.size),
        "Pass on so much of each stream (as in 64k, 10m) and drop the rest; the command goes on")

    /// The value of `--max-output`, in bytes.
    static func maxOutput(_ words: ParsedWords) throws -> UInt64? {
        try words.value("max-output").map { UInt64(try ByteSize($0).bytes) }
    }

    /// The words as one text.
    static func textForShell(_ request: ExecRequest) -> ExecRequest {
        var request = request
        request.command = .text(request.argv.joined(separator: " "))
        request.argv = []
        return request
    }

    static let exitCodes = [
        ExitCode("other", "the command's own; 128 + N when signal N killed it"),
        ExitCode("124", "the command ran out of time"),
    ]

    /// Runs a command as if it ran here.
    static func run(
        _ request: ExecRequest, in sandbox: String, _ client: Client, interactive: Bool, tty: Bool
    ) throws -> ExecResult {
        var request = request
        request.interactive = interactive ? true : nil
        if tty {
            // Its end would never reach a terminal inside, and whoever started ckpt would wait for ever.
            if interactive, isatty(STDIN_FILENO) == 0 {
                throw ErrorMessage(
                    .badValue, "stdin is no terminal",
                    hint: "leave out -t to pass it on, or -i to pass nothing")
            }
            request.tty = true
            // What the command sends has to suit the terminal here.
            let own = ["TERM": environmentValue("TERM") ?? "dumb"]
            request.env = own.merging(request.env ?? [:]) { _, given in given }
        }
        return try ExecTerminal(client, sandbox: sandbox).run(request)
    }

    /// Says how a command ended where its exit code alone would not tell.
    static func noteEnd(of result: ExecResult, _ console: Console) {
        if result.truncated {
            console.note("the command printed more than it was allowed; the rest was dropped")
        }
        if result.oomKilled { console.note("the command was killed: the sandbox's memory ran out") }
        if result.timedOut { console.note("the command ran out of time and was killed") }
        if console.verbose { console.note("took \(millisecondsText(result.durationMs))") }
    }
}
