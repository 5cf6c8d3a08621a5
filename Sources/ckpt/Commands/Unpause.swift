import Client
import CommandInterface
import Messages

extension Command {
    static let unpause = Command(
        CommandDescription(
            "unpause", "let a paused sandbox run on",
            discussion: [
                "Harmless where it is not paused."
            ],
            operands: [OperandDescription("NAME", .sandbox, .many)],
            examples: [
                Example("ckpt unpause main", "Go on"),
                Example("ckpt unpause $(ckpt ps -q)", "All that stand still"),
            ],
            triedAs: ["thaw", "continue"])
    ) { call in
        let client = call.client()
        var done: [SandboxInfo] = []
        let code = call.forEach(call.words.operands("NAME")) { name in
            done.append(try call.waiting("waking \(name)", interrupted: .goesOn) { try client.unpause(name) })
        }
        if call.console.json { try call.console.printJSON(SandboxList(sandboxes: done)) }
        return code
    }
}
