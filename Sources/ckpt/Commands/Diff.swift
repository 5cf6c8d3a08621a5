import Client
import CommandInterface
import Messages

extension Command {
    static let diff = Command(
        CommandDescription(
            "diff", "tell what is different between two snapshots",
            discussion: [
                "Files that were added (+), modified (~) or deleted (-), or of which only mode or owner changed (m); "
                    + "processes that were born, are gone or changed; descriptors; and for each mapping how many of "
                    + "its pages have other contents. Only layers that the two do not have in common are walked.",
                "For the steps of a rollout: `ckpt diff step~1 step` is what the step did.",
            ],
            operands: [OperandDescription("A", .snapshot), OperandDescription("B", .snapshot)],
            options: [OptionDescription("patch", "Show the difference of text files, as diff -u does")],
            examples: [
                Example("ckpt diff main~1 main", "What happened between the last two saves"),
                Example("ckpt diff before after --patch", "With the changed lines of text files"),
                Example("ckpt diff a b --json | jq -r '.files[].path'", "The paths alone"),
            ],
            triedAs: ["compare", "changes", "delta"])
    ) { call in
        let request = DiffRequest(
            from: call.words.operand("A"), to: call.words.operand("B"), patch: call.words.has("patch"))
        let client = call.client()
        let diff = try call.waiting("comparing", interrupted: .nothing) { try client.diff(request) }
        let lines = DiffPage(diff, style: call.console.outStyle).lines()
        try call.console.print(diff, lines: lines)
        if lines.isEmpty, !call.console.json { call.console.note("no differences") }
        return 0
    }
}
