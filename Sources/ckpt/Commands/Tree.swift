import Client
import CommandInterface
import Messages

extension Command {
    static let tree = Command(
        CommandDescription(
            "tree", "draw all snapshots, and which sandboxes stand where",
            discussion: [
                "One line a snapshot: its id, tags, the sandboxes that stand on it (● running, ○ stopped, ✗ "
                    + "dead), message, age, and what it takes on disk: of its own, for its process image and for the "
                    + "layer it added; shared with other snapshots; and what it would take by itself. A "
                    + "snapshot right under another in the same column is its only child; the drawing moves "
                    + "to the right only where the tree branches."
            ],
            examples: [
                Example("ckpt tree", "See where everything is"),
                Example(
                    "ckpt tree --json | jq -r '.snapshots[] | select(.children == []) | .id'", "All leaves"),
            ],
            triedAs: ["log", "history", "list", "snapshots", "graph"])
    ) { call in
        let client = call.client()
        let tree = try call.waiting("reading the tree", interrupted: .nothing) { try client.tree() }
        if call.console.json {
            try call.console.printJSON(tree)
            return 0
        }
        // The tree lists only those at the base; the states of the others are asked for.
        let sandboxes = try client.sandboxes().sandboxes
        let drawing = TreeDrawing(
            tree, sandboxes: sandboxes, now: currentTime(), style: call.console.outStyle)
        let lines = drawing.lines()
        if lines.isEmpty { call.console.note("no snapshots and no sandboxes yet (hint: ckpt create NAME)") }
        try call.console.printLines(lines)
        return 0
    }
}
