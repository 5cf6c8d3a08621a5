import Client
import CommandInterface
import Messages

extension Command {
    static let restore = Command(
        CommandDescription(
            "restore", "roll a sandbox back, in place, to a snapshot",
            discussion: [
                "What ran in the sandbox ends; what ran at the snapshot goes on from there, with the same "
                    + "PIDs, memory and open files. A stopped or dead sandbox runs again. Nothing is printed."
            ],
            operands: [
                OperandDescription("NAME", .sandbox), OperandDescription("SNAPSHOT", .snapshot, .optional),
            ],
            options: [
                OptionDescription("verify", "Read and check all that is stored of the snapshot before"),
                OptionDescription(
                    "memory", value: "WHEN", .choice(MemoryMode.allCases.map(\.rawValue)),
                    "lazy lets processes run before all their memory is back, whole waits for it; auto, "
                        + "the default, chooses by its size"),
                OptionDescription(
                    "engine", value: "ENGINE", .choice(Engine.allCases.map(\.rawValue)),
                    "criu has CRIU restore it in any case; twin wants a snapshot that is a twin"),
                OptionDescription(
                    "suspended", "Let no process run on from there; ckpt kill -s CONT lets all of them"),
            ],
            examples: [
                Example("ckpt restore main", "Back to the snapshot it last came from"),
                Example("ckpt restore main ready", "To the snapshot tagged ready"),
                Example("ckpt restore main main~2", "Two snapshots further back than where it stands"),
            ],
            triedAs: ["rollback", "checkout", "undo", "revert", "back", "resume"])
    ) { call in
        let name = call.words.operand("NAME")
        let request = RestoreRequest(
            snapshot: call.words.optionalOperand("SNAPSHOT"), verify: call.words.has("verify") ? true : nil,
            suspended: call.words.has("suspended") ? true : nil,
            memory: call.words.value("memory").flatMap(MemoryMode.init(rawValue:)),
            engine: call.words.value("engine").flatMap(Engine.init(rawValue:)))
        let client = call.client()
        let result = try call.waiting(
            "restoring \(name)", .operation("restore", sandbox: name), interrupted: .goesOn
        ) {
            try client.restore(name, request)
        }
        try call.console.print(result, lines: [])
        result.sandbox.warnings.forEach { call.console.note("warning: \($0)") }
        result.warnings?.forEach { call.console.note("warning: \($0)") }
        call.console.noteTimings(result.timings)
        return 0
    }
}
