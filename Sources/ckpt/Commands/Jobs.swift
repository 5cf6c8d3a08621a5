import Client
import CommandInterface
import Messages

extension Command {
    static let jobs = Command(
        CommandDescription(
            "jobs", "list the background commands of a sandbox",
            discussion: [
                "A job is what exec -d started. It is a part of the sandbox: a save keeps it, a restore brings "
                    + "it back as it was, a fork has it too. Of those that have ended the last 64 are kept."
            ],
            operands: [OperandDescription("NAME", .sandbox)],
            options: [OptionDescription("quiet", short: "q", "Print the ids alone")],
            examples: [
                Example("ckpt jobs main", "All jobs, oldest first"),
                Example("ckpt jobs main --json | jq '.jobs[] | select(.exitCode != 0)'", "Those that failed"),
            ],
            triedAs: ["background"])
    ) { call in
        let list = try call.client().jobs(call.words.operand("NAME"))
        if call.words.has("quiet"), !call.console.json {
            try call.console.printLines(list.jobs.map(\.id))
            return 0
        }
        try call.console.print(list, lines: table(of: list.jobs, call.console.outStyle))
        return 0
    }

    private static func table(of jobs: [JobInfo], _ style: Style) -> [String] {
        var table = TextTable(["ID", "STATE", "EXIT", "STARTED", "OUTPUT", "COMMAND"])
        for job in jobs {
            let output = sizeText(bytes: Int64(clamping: job.stdoutBytes + job.stderrBytes))
            table.add([
                .init(job.id, .id), .init(job.state.rawValue),
                .init(job.exitCode.map { job.timedOut ? "\($0) (time)" : "\($0)" } ?? ""),
                .init(ageText(seconds: currentTime() - job.started), .faint),
                .init(output), .init(style.clean(job.command)),
            ])
        }
        return table.lines(style)
    }
}
