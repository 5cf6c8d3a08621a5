import Client
import CommandInterface
import Messages

extension Command {
    static let run = Command(
        CommandDescription(
            "run", "make a sandbox, run one command in it, exit with its code",
            discussion: [
                "The sandbox stays, to be saved or looked into, unless --rm is given. Its made-up name is said "
                    + "on stderr. Options after CMD are its own.",
                "With -d the command is a job of the sandbox: both names are printed, and ckpt job tells the rest.",
            ],
            operands: [OperandDescription("CMD", .program, .rest)],
            options: [
                OptionDescription("rm", "Remove the sandbox when the command has ended, however it ended"),
                OptionDescription("name", value: "N", .newSandbox, "Its name; one is made up otherwise"),
            ] + SpecOptions.all + ExecOptions.streams
                + [ExecOptions.timeout, ExecOptions.detach, ExecOptions.shell, ExecOptions.maxOutput],
            examples: [
                Example(
                    "ckpt run --rm -- python3 -c 'print(6 * 7)'", "Run something and leave nothing behind"),
                Example("ckpt run --rm -it bash", "A shell to play in"),
                Example(
                    "ckpt run --name build --timeout 600 -- make", "Keep the sandbox, to save what was built"),
            ],
            exitCodes: ExecOptions.exitCodes, triedAs: ["try"], foreign: DockerOptions.foreign)
    ) { call in
        let words = call.words
        if words.has("detach"),
            words.has("rm") || words.has("interactive") || words.value("max-output") != nil
        {
            throw UsageError("--rm, -i and --max-output are nothing for a job", command: "run")
        }
        let client = call.client()
        let request = CreateRequest(name: words.value("name"), spec: try SpecOptions.spec(words))
        let removal = words.has("rm") ? RemovalOnSignal(root: call.root) : nil
        let sandbox: SandboxInfo
        do {
            sandbox = try call.waiting("making a sandbox", interrupted: .goesOn) {
                try client.create(request)
            }
        } catch {
            removal?.stop()
            throw error
        }
        removal?.made(sandbox.name)
        sandbox.warnings.forEach { call.console.note("warning: \($0)") }
        if words.value("name") == nil, !words.has("rm"), !call.console.json {
            call.console.note("the sandbox is called \(sandbox.name)")
        }
        if words.has("detach") { return try startJob(call, client, sandbox) }
        let result: ExecResult
        do {
            // A command whose streams are ckpt's own is given the signals.
            if !call.console.json { removal?.stop() }
            result = try runCommand(call, client, sandbox)
            removal?.stop()
        } catch {
            removal?.stop()
            // The error is what the person wants to know; that the removal failed as well comes after it.
            if words.has("rm") { remove(sandbox.name, call, client) }
            throw error
        }
        let removed = words.has("rm") && remove(sandbox.name, call, client)
        if call.console.json {
            let outcome = RunOutcome(sandbox: sandbox.name, removed: removed, result: result)
            try call.console.printJSON(outcome)
        } else {
            ExecOptions.noteEnd(of: result, call.console)
        }
        return result.exitCode
    }

    /// The job that `run -d` starts: what the sandbox is for, and whose exit code `wait` tells.
    static let mainJob = "main"

    private static func runCommand(
        _ call: Invocation, _ client: Client, _ sandbox: SandboxInfo
    ) throws -> ExecResult {
        let (name, request) = (sandbox.name, try request(call, in: sandbox))
        let interactive = call.words.has("interactive")
        if call.console.json { return try bufferedExec(client, name, request, interactive: interactive) }
        return try ExecOptions.run(
            request, in: name, client, interactive: interactive, tty: call.words.has("tty"))
    }

    private static func request(_ call: Invocation, in sandbox: SandboxInfo) throws -> ExecRequest {
        var request = ExecRequest(argv: sandbox.spec.entrypoint + call.words.operands("CMD"))
        request.timeout = call.words.seconds("timeout")
        request.maxOutput = try ExecOptions.maxOutput(call.words)
        return call.words.has("shell") ? ExecOptions.textForShell(request) : request
    }

    /// Leaves the command running in the sandbox; a sandbox whose command never ran is of no use.
    private static func startJob(
        _ call: Invocation, _ client: Client, _ sandbox: SandboxInfo
    ) throws -> Int32 {
        let name = sandbox.name
        do {
            var request = try request(call, in: sandbox)
            request.id = mainJob
            request.tty = call.words.has("tty") ? true : nil
            let job = try client.startJob(name, request)
            try call.console.print(StartedRun(sandbox: name, job: job), lines: ["\(name) \(job.id)"])
            return 0
        } catch let error as ErrorMessage {
            remove(name, call, client)
            throw error
        }
    }

    /// Removes the sandbox of a finished run; a failure is reported and changes nothing else.
    @discardableResult
    private static func remove(_ name: String, _ call: Invocation, _ client: Client) -> Bool {
        do {
            try client.remove(name, force: true)
            return true
        } catch {
            call.console.report(errorMessage(error))
            return false
        }
    }
}

/// What `ckpt run -d --json` prints.
private struct StartedRun: Encodable {
    let sandbox: String
    let job: JobInfo
}

/// What `ckpt run --json` prints.
private struct RunOutcome: Encodable {
    let sandbox: String
    let removed: Bool
    let result: ExecResult
}
