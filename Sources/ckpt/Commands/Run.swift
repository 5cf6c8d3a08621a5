import Client
import CommandInterface
import Messages

extension Command {
    static let run = Command(
        CommandDescription(
            "run", "make a sandbox, run one command in it, exit with its code",
            discussion: [
                "The sandbox stays, to be saved or looked into, unless --rm is given. Its made-up name is said "
                    + "on stderr. Options after CMD are its own."
            ],
            operands: [OperandDescription("CMD", .program, .rest)],
            options: [
                OptionDescription("rm", "Remove the sandbox when the command has ended, however it ended"),
                OptionDescription("name", value: "N", .newSandbox, "Its name; one is made up otherwise"),
            ] + SpecOptions.all + ExecOptions.streams + [ExecOptions.timeout],
            examples: [
                Example(
                    "ckpt run --rm -- python3 -c 'print(6 * 7)'", "Run something and leave nothing behind"),
                Example("ckpt run --rm -it bash", "A shell to play in"),
                Example(
                    "ckpt run --name build --timeout 600 -- make", "Keep the sandbox, to save what was built"),
            ],
            exitCodes: ExecOptions.exitCodes, triedAs: ["try"])
    ) { call in
        let words = call.words
        let client = call.client()
        let request = CreateRequest(name: words.value("name"), spec: try SpecOptions.spec(words))
        let sandbox = try call.waiting("making a sandbox") { try client.create(request) }
        if words.value("name") == nil, !words.has("rm"), !call.console.json {
            call.console.note("the sandbox is called \(sandbox.name)")
        }
        let result: ExecResult
        do {
            result = try runCommand(call, client, sandbox.name)
        } catch {
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

    private static func runCommand(_ call: Invocation, _ client: Client, _ name: String) throws -> ExecResult
    {
        var request = ExecRequest(argv: call.words.operands("CMD"))
        request.timeout = call.words.seconds("timeout")
        let interactive = call.words.has("interactive")
        if call.console.json { return try bufferedExec(client, name, request, interactive: interactive) }
        return try ExecOptions.run(
            request, in: name, client, interactive: interactive, tty: call.words.has("tty"))
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

/// What `ckpt run --json` prints.
private struct RunOutcome: Encodable {
    let sandbox: String
    let removed: Bool
    let result: ExecResult
}
