import Client
import CommandInterface
import Messages

extension Command {
    static let du = Command(
        CommandDescription(
            "du", "tell what snapshots take on disk",
            discussion: [
                "For the process image and for the layers of each snapshot: LOGICAL is what it would take if "
                    + "nothing were shared and no memory left out; OWN is what no other snapshot has, and what "
                    + "deleting it frees; SHARED is on disk once for it and for others. The last line is the "
                    + "whole store, with each file counted once."
            ],
            operands: [OperandDescription("SNAPSHOT", .snapshot, .optionalMany)],
            examples: [
                Example("ckpt du", "All snapshots, oldest first"),
                Example("ckpt du ready main", "Two of them"),
                Example(
                    "ckpt du --json | jq '.snapshots | max_by(.process.ownBytes + .layers.ownBytes).id'",
                    "The one that takes most"),
            ],
            triedAs: ["df", "size", "usage"])
    ) { call in
        let client = call.client()
        let report = try call.waiting("counting", interrupted: .nothing) {
            try client.usage(call.words.operands("SNAPSHOT"))
        }
        var table = TextTable([
            "SNAPSHOT", "TAGS", "MEMORY LOGICAL", "OWN", "SHARED", "LAYERS LOGICAL", "OWN", "SHARED",
        ])
        let style = call.console.outStyle
        for usage in report.snapshots {
            table.add(
                [.init(usage.id, .id), .init(style.clean(usage.tags.joined(separator: ",")), .tag)]
                    + [usage.process, usage.layers].flatMap { share in
                        [share.logicalBytes, share.ownBytes, share.sharedBytes].map {
                            TextTable.Cell(sizeText(bytes: $0))
                        }
                    })
        }
        let whole = "the store: \(sizeText(bytes: report.processBytes)) of process images, "
        let lines = report.snapshots.isEmpty ? [] : table.lines(style)
        try call.console.print(
            report, lines: lines + [whole + "\(sizeText(bytes: report.layerBytes)) of layers"])
        return 0
    }
}
