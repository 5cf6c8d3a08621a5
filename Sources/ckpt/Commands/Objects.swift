import Client
import CommandInterface
import Messages

extension Command {
    static let objects = Command(
        CommandDescription(
            "objects", "list the layers, process images and programs that a store holds",
            discussion: [
                "One a line: what it is, its id, its digest, its bytes on disk when it was saved. With SNAPSHOT the "
                    + "list is of what that one is made of. ckpt export --have takes such a list and leaves out what "
                    + "it names."
            ],
            operands: [OperandDescription("SNAPSHOT", .snapshot, .optional)],
            options: [OptionDescription("with-ancestors", "Of its ancestors too")],
            examples: [
                Example("ckpt objects", "Everything that is here"),
                Example("ckpt objects ready", "The parts of one snapshot"),
                Example(
                    "ssh node ckpt objects | ckpt export ready --have - -o ready.tar.zst",
                    "An archive without what the other machine has"),
            ],
            triedAs: ["layers", "parts"])
    ) { call in
        let list = try call.client().objects(
            snapshot: call.words.operands("SNAPSHOT").first, withAncestors: call.words.has("with-ancestors"))
        try call.console.print(list, lines: ObjectLines.lines(list.objects))
        return 0
    }
}

/// Lists of objects as text.
enum ObjectLines {
    static func lines(_ objects: [StoredObject]) -> [String] {
        objects.map { "\($0.kind.rawValue) \($0.id) \($0.digest) \($0.bytes)" }
    }

    /// Reads what `lines` wrote; throws for all else.
    static func parse(_ text: String) throws(ErrorMessage) -> [StoredObject] {
        var objects: [StoredObject] = []
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            guard words.count == 4, let kind = StoredObject.Kind(rawValue: words[0]),
                let bytes = Int64(words[3])
            else {
                throw ErrorMessage(
                    .badValue,
                    "the list of what the receiver has has a line that is none: \(line.prefix(80))",
                    hint: "ckpt objects prints such a list")
            }
            objects.append(StoredObject(kind: kind, id: words[1], digest: words[2], bytes: bytes))
        }
        return objects
    }
}
