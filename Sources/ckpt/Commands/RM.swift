import Client
import CommandInterface
import Messages

extension Command {
    static let rm = Command(
        CommandDescription(
            "rm", "remove sandboxes",
            discussion: ["Snapshots taken of them stay. A running sandbox is only removed with -f."],
            operands: [OperandDescription("NAME", .sandbox, .many)],
            options: [OptionDescription("force", short: "f", "End what runs in them first")],
            examples: [
                Example("ckpt rm old", "Remove a stopped sandbox"),
                Example("ckpt rm -f try-1 try-2", "Remove two that may still run"),
            ],
            triedAs: ["remove", "destroy", "down"])
    ) { call in
        let client = call.client()
        var removed: [String] = []
        let code = call.forEach(call.words.operands("NAME")) { name in
            try call.waiting("removing \(name)", interrupted: .goesOn) {
                try client.remove(name, force: call.words.has("force"))
            }
            removed.append(name)
        }
        if call.console.json { try call.console.printJSON(["removed": removed]) }
        return code
    }
}
