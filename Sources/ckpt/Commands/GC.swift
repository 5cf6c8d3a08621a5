import Client
import CommandInterface
import Messages

extension Command {
    static let gc = Command(
        CommandDescription(
            "gc", "remove layers and process images that no snapshot and no sandbox needs",
            discussion: ["Nothing that can be named is lost; -v lists what went."],
            examples: [
                Example("ckpt gc", "Give the disk back what deleted snapshots held"),
                Example("ckpt gc --json | jq .freedBytes", "How many bytes that was"),
            ],
            triedAs: ["clean", "prune", "vacuum"])
    ) { call in
        let client = call.client()
        let result = try call.waiting("collecting garbage", .operation("collectGarbage")) { try client.gc() }
        let count = result.removed.count
        try call.console.print(
            result,
            lines: [
                "removed \(count) \(count == 1 ? "item" : "items"), \(sizeText(bytes: result.freedBytes))"
            ])
        if call.console.verbose { for item in result.removed { call.console.note("removed \(item)") } }
        return 0
    }
}
