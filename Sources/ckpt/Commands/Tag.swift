import Client
import CommandInterface
import Messages

extension Command {
    static let tag = Command(
        CommandDescription(
            "tag", "give a snapshot a tag, or take one away",
            discussion: [
                "A tag names one snapshot wherever an id is asked for. Nothing is printed."
            ],
            operands: [
                OperandDescription("SNAPSHOT", .snapshot), OperandDescription("TAG", .newTag, .optional),
            ],
            options: [OptionDescription("delete", short: "d", "Take the tag away; the snapshot stays")],
            examples: [
                Example("ckpt tag main ready", "Tag the snapshot that main stands on"),
                Example("ckpt tag 3f9a2c1b best", "Tag a snapshot by the beginning of its id"),
                Example("ckpt tag -d best", "Take a tag away"),
            ],
            triedAs: ["label", "untag"],
            usageLines: ["ckpt tag [options] SNAPSHOT TAG", "ckpt tag -d TAG"])
    ) { call in
        let first = call.words.operand("SNAPSHOT")
        let second = call.words.optionalOperand("TAG")
        if call.words.has("delete") {
            if let second {
                throw UsageError("unexpected word '\(second)': -d takes a tag alone", command: "tag")
            }
            try call.client().untag(first)
            if call.console.json { try call.console.printJSON(["untagged": first]) }
        } else {
            guard let second else { throw UsageError("missing TAG: tag needs a tag", command: "tag") }
            let snapshot = try call.client().tag(first, second)
            try call.console.print(snapshot, lines: [])
        }
        return 0
    }
}
