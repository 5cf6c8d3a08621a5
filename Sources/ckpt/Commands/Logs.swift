import Client
import CommandInterface
import Glibc
import Messages

extension Command {
    static let logs = Command(
        CommandDescription(
            "logs", "print what commands in a sandbox wrote",
            discussion: [
                "What went to stdout comes out on stdout, what went to stderr on stderr, in order. Old output "
                    + "is dropped when there is much. What a job printed is kept apart: ckpt job tells it."
            ],
            operands: [OperandDescription("NAME", .sandbox)],
            options: [
                OptionDescription("exec", value: "ID", .text, "Only what the command with this id wrote"),
                OptionDescription("timestamps", "Put the time (UTC) before each line"),
            ],
            examples: [
                Example("ckpt logs main", "Everything that is kept"),
                Example("ckpt logs main --timestamps 2>/dev/null", "Only stdout, with the time"),
            ],
            triedAs: ["log", "output"])
    ) { call in
        var list = try call.client().logs(call.words.operand("NAME"))
        if let exec = call.words.value("exec") { list.records.removeAll { $0.exec != exec } }
        if call.console.json {
            try call.console.printJSON(list)
            return 0
        }
        for record in list.records {
            let stream = record.stream == "stderr" ? STDERR_FILENO : STDOUT_FILENO
            let stamped = call.words.has("timestamps")
            try writeAll(stamped ? withTime(record) : record.text, to: stream)
        }
        return 0
    }

    private static func withTime(_ record: LogRecord) -> String {
        var lines = record.text.split(separator: "\n", omittingEmptySubsequences: false)
        if lines.last == "" { lines.removeLast() }
        return lines.map { "\(momentText(record.time))  \($0)\n" }.joined()
    }
}
