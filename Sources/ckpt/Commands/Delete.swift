import Client
import CommandInterface
import Messages

extension Command {
    static let delete = Command(
        CommandDescription(
            "delete", "delete snapshots",
            discussion: [
                "A snapshot that others come from or that a sandbox stands on is refused; with --keep-children it "
                    + "goes alone and they move up to its parent, with --subtree they go too. Layers that nothing needs any more go with the next gc. The ids of "
                    + "what is gone are printed."
            ],
            operands: [OperandDescription("SNAPSHOT", .snapshot, .many)],
            options: [
                OptionDescription("subtree", "Delete all that came from it as well"),
                OptionDescription("keep-children", "Delete it alone; what came from it stays whole"),
            ],
            examples: [
                Example("ckpt delete 3f9a2c1b", "Delete one snapshot"),
                Example("ckpt delete --keep-children main~1", "Thin out a row of snapshots"),
                Example("ckpt delete --subtree try", "Delete a branch that came to nothing"),
            ],
            triedAs: ["del", "prune", "rmi", "drop"])
    ) { call in
        let client = call.client()
        let subtree = call.words.has("subtree")
        let keepingChildren = call.words.has("keep-children")
        if subtree, keepingChildren {
            throw UsageError("--subtree and --keep-children exclude each other", command: "delete")
        }
        var all = DeleteResult(deleted: [], freedBytes: 0)
        let code = call.forEach(call.words.operands("SNAPSHOT")) { snapshot in
            let result = try call.waiting(
                "deleting \(snapshot)", .operation("deleteSnapshot"), interrupted: .goesOn
            ) {
                try client.delete(snapshot, subtree: subtree, keepingChildren: keepingChildren)
            }
            all.deleted += result.deleted
            all.freedBytes += result.freedBytes
        }
        try call.console.print(all, lines: all.deleted)
        if call.console.verbose { call.console.note("freed \(sizeText(bytes: all.freedBytes))") }
        return code
    }
}
