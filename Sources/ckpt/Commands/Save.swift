import Client
import CommandInterface
import Messages

extension Command {
    static let save = Command(
        CommandDescription(
            "save", "make a snapshot of a sandbox: files, memory and processes of one instant",
            discussion: [
                "The sandbox stands still for some milliseconds and goes on, unless --stop is given. The new "
                    + "snapshot's parent is the one the sandbox last came from. The snapshot's id is printed."
            ],
            operands: [OperandDescription("NAME", .sandbox)],
            options: [
                OptionDescription("tag", short: "t", value: "TAG", .newTag, "Give the snapshot this tag"),
                OptionDescription(
                    "message", short: "m", value: "TEXT", .text, "Say what it is, for the tree"),
                OptionDescription(
                    "durability", value: "LEVEL", .choice(Durability.allCases.map(\.rawValue)),
                    "What this snapshot survives: none, deferred, snapshot, always (default: as the server is set)"
                ),
                OptionDescription(
                    "engine", value: "ENGINE", .choice(Engine.allCases.map(\.rawValue)),
                    "What makes it: criu alone, or twin where that is exact, an experiment (default: as the server is set)"
                ),
                OptionDescription("stop", "Leave the sandbox stopped at this very instant"),
            ],
            examples: [
                Example("ckpt save main", "Take a snapshot and go on"),
                Example(
                    "ckpt save main -t ready -m 'dependencies installed'", "Take one to come back to by name"),
                Example("ckpt save --durability snapshot main", "It is on the disk when the command returns"),
                Example("id=$(ckpt save --stop main)", "Put a sandbox away and keep the id"),
            ],
            triedAs: ["checkpoint", "snapshot", "commit", "dump", "snap"])
    ) { call in
        let name = call.words.operand("NAME")
        let request = SaveRequest(
            tag: call.words.value("tag"), message: call.words.value("message"),
            stop: call.words.has("stop") ? true : nil,
            durability: call.words.value("durability").flatMap(Durability.init(rawValue:)),
            engine: call.words.value("engine").flatMap(Engine.init(rawValue:)))
        let client = call.client()
        let snapshot = try call.waiting(
            "saving \(name)", .operation("save", sandbox: name), interrupted: .givenUp
        ) {
            try client.save(name, request)
        }
        try call.console.print(snapshot, lines: [snapshot.id])
        snapshot.warnings?.forEach { call.console.note("warning: \($0)") }
        if let why = snapshot.engineReason { call.console.note("made by CRIU, not as a twin: \(why)") }
        call.console.noteTimings(snapshot.timings)
        return 0
    }
}
