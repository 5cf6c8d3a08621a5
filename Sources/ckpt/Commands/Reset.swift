import Client
import CommandInterface
import Messages

extension Command {
    static let reset = Command(
        CommandDescription(
            "reset", "roll a sandbox back to its base: no processes, no changed files",
            discussion: ["Its name and its spec stay, and so do all snapshots. Nothing is printed."],
            operands: [OperandDescription("NAME", .sandbox)],
            examples: [
                Example("ckpt reset main", "Start over"),
                Example("ckpt reset main && ckpt exec main -- ls -A /root", "Make sure that nothing is left"),
            ],
            triedAs: ["clear", "clean", "restart"])
    ) { call in
        let name = call.words.operand("NAME")
        let client = call.client()
        let result = try call.waiting("resetting \(name)", interrupted: .goesOn) { try client.reset(name) }
        try call.console.print(result, lines: [])
        result.sandbox.warnings.forEach { call.console.note("warning: \($0)") }
        call.console.noteTimings(result.timings)
        return 0
    }
}
