import Client
import CommandInterface
import Messages

extension Command {
    static let check = Command(
        CommandDescription(
            "check", "say whether a sandbox can be saved, without stopping it",
            discussion: [
                "Looks through what its processes hold open and are in for what cannot be saved. One line a "
                    + "problem: which process, what it holds, and what to do about it. A save may still be refused "
                    + "for what only shows when everything stands still; docs/refusals.md tells all of it."
            ],
            operands: [OperandDescription("NAME", .sandbox)],
            examples: [
                Example("ckpt check main", "Ask before a long run"),
                Example("ckpt check main --json | jq -r '.problems[].command'", "The programs to blame"),
                Example("ckpt check main && ckpt save main", "Save only what can be saved"),
            ],
            exitCodes: [ExitCode("1", "it cannot be saved as it is")],
            triedAs: ["can-save", "precheck", "savable", "dry-run"])
    ) { call in
        let name = call.words.operand("NAME")
        let client = call.client()
        let result = try call.waiting("checking \(name)", interrupted: .nothing) { try client.check(name) }
        let style = call.console.outStyle
        let lines = result.problems.map { style.clean("\($0.message) (hint: \($0.hint))") }
        try call.console.print(
            result, lines: result.savable ? [style.clean("\(name) can be saved")] : lines)
        if !call.console.json { result.warnings.forEach { call.console.note("warning: \($0)") } }
        return result.savable ? 0 : 1
    }
}
