import Client
import CommandInterface
import Messages

extension Command {
    static let update = Command(
        CommandDescription(
            "update", "change the limits of a sandbox while it runs",
            discussion: [
                "Limits that are not named stay as they are. A save keeps the new ones; a restore brings back those of "
                    + "the snapshot."
            ],
            operands: [OperandDescription("NAME", .sandbox, .many)],
            options: SpecOptions.limits + [
                OptionDescription(
                    "lift", value: "LIMIT", .choice(LimitName.allCases.map(\.rawValue)), repeats: true,
                    "Set no such limit any more; with memory goes memory-swap")
            ],
            examples: [
                Example("ckpt update main --memory 2g --memory-swap 2g", "Room for more, and no swap"),
                Example("ckpt update main --cpus 0.5", "Half a CPU from now on"),
                Example("ckpt update main --lift memory --lift pids-limit", "No limit of these from now on"),
            ],
            triedAs: ["limit", "resize"])
    ) { call in
        let limits = try SpecOptions.limits(call.words)
        let lift = call.words.values("lift").compactMap(LimitName.init)
        if limits.isEmpty, lift.isEmpty { throw UsageError("no limit is named", command: "update") }
        let client = call.client()
        var done: [SandboxInfo] = []
        let code = call.forEach(call.words.operands("NAME")) { name in
            let sandbox = try client.update(name, limits, lift: lift)
            sandbox.warnings.forEach { call.console.note("warning: \($0)") }
            done.append(sandbox)
        }
        if call.console.json { try call.console.printJSON(SandboxList(sandboxes: done)) }
        return code
    }
}
