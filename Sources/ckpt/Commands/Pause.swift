import Client
import CommandInterface
import Messages

extension Command {
    static let pause = Command(
        CommandDescription(
            "pause", "stop every process of a sandbox where it is",
            discussion: [
                "Its processes get no CPU time until unpause, and know nothing of it; commands wait. It can be saved, forked, "
                    + "restored and removed meanwhile; exec is refused."
            ],
            operands: [OperandDescription("NAME", .sandbox, .many)],
            examples: [
                Example("ckpt pause main", "Let it rest"), Example("ckpt pause $(ckpt ps -q)", "All of them"),
            ],
            triedAs: ["freeze", "suspend"])
    ) { call in
        let client = call.client()
        var done: [SandboxInfo] = []
        let code = call.forEach(call.words.operands("NAME")) { name in
            done.append(try call.waiting("pausing \(name)", interrupted: .goesOn) { try client.pause(name) })
        }
        if call.console.json { try call.console.printJSON(SandboxList(sandboxes: done)) }
        return code
    }
}
