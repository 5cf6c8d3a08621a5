import Client
import CommandInterface
import Messages

extension Command {
    static let kill = Command(
        CommandDescription(
            "kill", "stop sandboxes, or send a signal to what runs in them",
            discussion: [
                "Without -s all processes end at once and the sandbox is left stopped, its files as they are. "
                    + "With -s every process but PID 1 gets the signal."
            ],
            operands: [OperandDescription("NAME", .sandbox, .many)],
            options: [
                OptionDescription("signal", short: "s", value: "SIG", .signal, "A signal, by name or number")
            ],
            examples: [
                Example("ckpt kill main", "Stop a sandbox"),
                Example("ckpt kill -s HUP web", "Let its daemons read their configuration again"),
            ],
            triedAs: ["stop", "signal", "halt"])
    ) { call in
        let client = call.client()
        let request = KillRequest(signal: call.words.value("signal").flatMap(signalNumber))
        var done: [SandboxInfo] = []
        let code = call.forEach(call.words.operands("NAME")) { name in
            done.append(
                try call.waiting("stopping \(name)", interrupted: .goesOn) { try client.kill(name, request) })
        }
        if call.console.json { try call.console.printJSON(SandboxList(sandboxes: done)) }
        return code
    }
}
