import Client
import CommandInterface
import Messages

extension Command {
    static let gc = Command(
        CommandDescription(
            "gc", "remove what no snapshot and no sandbox needs, and snapshots that a policy lets go",
            discussion: [
                "Without a rule and a limit nothing that can be named is lost: layers and process images that "
                    + "nothing refers to go. With --keep-last, --keep-tagged or --keep-within every snapshot goes "
                    + "that none of them keeps. What a sandbox stands on stays always. What came from a snapshot "
                    + "that goes moves up to its parent and stays whole.",
                "With --max-bytes only as many go as must, until all snapshots and layers fit, and never one "
                    + "that a rule keeps: those without a tag first, of these leaves before what others came from, "
                    + "of these the oldest first.",
                "Each line is what goes; --dry-run prints the same and removes nothing.",
            ],
            options: [
                OptionDescription(
                    "keep-last", value: "N", .number(1...1_000_000),
                    "Keep the newest N of each sandbox, by the name they were saved from"),
                OptionDescription("keep-tagged", "Keep snapshots that have a tag"),
                OptionDescription(
                    "keep-within", value: "TIME", .span,
                    "Keep what was saved within TIME: 90s, 30m, 12h, 7d, 2w"
                ),
                OptionDescription("keep-paths", "Keep every ancestor of what is kept"),
                OptionDescription(
                    "max-bytes", value: "SIZE", .spec(.size),
                    "Remove no more than it takes for the store to fit into SIZE on disk"),
                OptionDescription("dry-run", "Remove nothing; tell what would go and what that frees"),
            ],
            examples: [
                Example("ckpt gc", "Give the disk back what deleted snapshots held"),
                Example(
                    "ckpt gc --keep-last 3 --keep-tagged --keep-paths --dry-run", "See what a policy removes"),
                Example(
                    "ckpt gc --max-bytes 20g --keep-tagged", "Fit the store into 20 GiB, tagged ones aside"),
                Example("ckpt gc --json | jq .freedBytes", "How many bytes that was"),
            ],
            triedAs: ["clean", "prune", "vacuum", "forget"])
    ) { call in
        let words = call.words
        var request = GCRequest()
        request.keepLast = words.number("keep-last")
        request.keepTagged = words.has("keep-tagged") ? true : nil
        request.keepWithin = words.span("keep-within")
        request.keepPaths = words.has("keep-paths") ? true : nil
        request.maxBytes = try words.value("max-bytes").map { try ByteSize($0) }
        request.dryRun = words.has("dry-run") ? true : nil
        if request.keepPaths == true, !request.retiresSnapshots {
            throw UsageError(
                "--keep-paths alone says nothing: whose paths, --keep-last, --keep-tagged, --keep-within or "
                    + "--max-bytes must tell", command: "gc")
        }
        let client = call.client()
        let result = try call.waiting(
            "collecting garbage", .operation("collectGarbage"), interrupted: .goesOn
        ) {
            try client.gc(request)
        }
        try call.console.print(result, lines: lines(of: result, call.console.outStyle))
        if let limit = request.maxBytes?.bytes, let stored = result.storedBytes, stored > limit {
            call.console.note(
                "\(sizeText(bytes: stored)) remain, more than --max-bytes: all of it must be kept")
        }
        if request.dryRun == true { call.console.note("nothing was removed: this was a dry run") }
        return 0
    }

    private static func lines(of result: GCResult, _ style: Style) -> [String] {
        var table = TextTable(["SNAPSHOT", "SANDBOX", "SAVED", "TAGS", "FREES"])
        for snapshot in result.deleted {
            table.add([
                .init(snapshot.id, .id), .init(style.clean(snapshot.sandbox)),
                .init(momentText(snapshot.created)),
                .init(style.clean(snapshot.tags.joined(separator: ",")), .tag),
                .init(sizeText(bytes: snapshot.freedBytes)),
            ])
        }
        let snapshots = result.deleted.isEmpty ? [] : table.lines(style)
        let counted = { (number: Int, what: String) in "\(number) \(what)\(number == 1 ? "" : "s")" }
        var sum =
            "\(counted(result.deleted.count, "snapshot")) and \(counted(result.removed.count, "other item")): "
        sum += "\(sizeText(bytes: result.freedBytes)) (\(result.freedBytes) bytes) freed"
        if let stored = result.storedBytes {
            sum += ", \(counted(result.kept, "snapshot")) of \(sizeText(bytes: stored)) kept"
        }
        return snapshots + result.removed.map { "removed \($0)" } + [sum]
    }
}
