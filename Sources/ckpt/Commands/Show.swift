import Client
import CommandInterface
import Messages

extension Command {
    static let show = Command(
        CommandDescription(
            "show", "tell everything about one snapshot or one sandbox",
            discussion: [
                "With a sandbox's name it tells about the sandbox and then about the snapshot it stands on; as "
                    + "JSON that is the snapshot, where it stands on one. --sandbox tells about the sandbox alone."
            ],
            operands: [OperandDescription("SNAPSHOT|NAME", .snapshotOrSandbox)],
            options: [
                OptionDescription("sandbox", "Take the word for a sandbox's name, and tell only about it")
            ],
            examples: [
                Example("ckpt show main", "A sandbox and the snapshot it stands on"),
                Example("ckpt show main~1", "The snapshot before that"),
                Example("ckpt show --sandbox main --json | jq .sessions", "One thing about a sandbox"),
                Example("ckpt show ready --json | jq .processBytes", "One figure of a snapshot"),
            ],
            triedAs: ["info", "describe", "cat", "stat"])
    ) { call in
        let wanted = call.words.operand("SNAPSHOT|NAME")
        let client = call.client()
        let sandbox: SandboxInfo? =
            if call.words.has("sandbox") {
                try client.sandbox(wanted)
            } else if isName(wanted) {
                try known(wanted, client)
            } else {
                nil
            }
        let alone = call.words.has("sandbox") || (sandbox != nil && sandbox?.snapshot == nil)
        let snapshot = alone ? nil : try client.snapshot(wanted)
        if call.console.json {
            if let snapshot {
                try call.console.printJSON(snapshot)
            } else {
                try call.console.printJSON(sandbox)
            }
            return 0
        }
        let (now, style) = (currentTime(), call.console.outStyle)
        let sheets = [
            sandbox.map { sheet(of: $0, now: now, style: style) },
            snapshot.map { sheet(of: $0, now: now, style: style) },
        ]
        try call.console.printLines(Array(sheets.compactMap { $0 }.joined(separator: [""])))
        return 0
    }

    /// The sandbox of that name; nil when there is none.
    private static func known(_ name: String, _ client: Client) throws -> SandboxInfo? {
        do {
            return try client.sandbox(name)
        } catch  where error.code == .unknownSandbox {
            return nil
        }
    }
}
