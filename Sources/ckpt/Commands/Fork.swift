import Client
import CommandInterface
import Messages

extension Command {
    static let fork = Command(
        CommandDescription(
            "fork", "start new sandboxes from one snapshot, at once",
            discussion: [
                "Each goes on from the snapshot's instant on its own. With a sandbox's name the snapshot that "
                    + "it stands on is taken: save it first to fork it as it is now. All of them start, or "
                    + "none. The names are printed, one a line."
            ],
            operands: [OperandDescription("SNAPSHOT|NAME", .snapshotOrSandbox)],
            options: [
                OptionDescription(
                    "number", short: "n", value: "N", .number(1...1000), "How many sandboxes; default: 1"),
                OptionDescription(
                    "name", value: "PREFIX", .newSandbox,
                    "Call them PREFIX-1, PREFIX-2 …; a single one just PREFIX where that is free"),
                OptionDescription(
                    "memory", value: "WHEN", .choice(MemoryMode.allCases.map(\.rawValue)),
                    "lazy lets processes run before all their memory is back, whole waits for it; auto, "
                        + "the default, chooses by its size"),
                OptionDescription("verify", "Read and check all that is stored of the snapshot before"),
            ],
            examples: [
                Example("ckpt fork ready", "One more sandbox from the snapshot tagged ready"),
                Example("ckpt fork ready -n 8 --name try", "Eight, called try-1 to try-8"),
                Example(
                    "ckpt fork ready -n 4 | xargs -P4 -I{} ckpt exec {} -- ./solve", "Try four ways at once"),
            ],
            triedAs: ["branch", "clone", "spawn"])
    ) { call in
        let source = call.words.operand("SNAPSHOT|NAME")
        let request = ForkRequest(
            source: source, count: call.words.number("number"), prefix: call.words.value("name"),
            verify: call.words.has("verify") ? true : nil,
            memory: call.words.value("memory").flatMap(MemoryMode.init(rawValue:)))
        let client = call.client()
        let result = try call.waiting("forking \(source)", .operation("fork"), interrupted: .givenUp) {
            try client.fork(request)
        }
        try call.console.print(result, lines: result.sandboxes.map(\.name))
        for sandbox in result.sandboxes {
            sandbox.warnings.forEach { call.console.note("warning: \(sandbox.name): \($0)") }
        }
        call.console.noteTimings(result.timings)
        return 0
    }
}
