import Client
import CommandInterface
import Glibc
import Messages

extension Command {
    static let top = Command(
        CommandDescription(
            "top", "show the processes of a sandbox",
            discussion: [
                "On a terminal the table is shown again every two seconds, until q or Ctrl-C. Elsewhere, and with "
                    + "--once or --json, it is printed once.",
                "PID is the number inside the sandbox, CPU the share of one CPU, RSS the memory that is resident.",
            ],
            operands: [OperandDescription("NAME", .sandbox)],
            options: [
                OptionDescription("once", "Print the table once, also on a terminal"),
                OptionDescription(
                    "interval", value: "SEC", .seconds, "Measure over so many seconds, 10 at most; default: 2"
                ),
            ],
            examples: [
                Example("ckpt top main", "Watch what runs"),
                Example(
                    "ckpt top main --json | jq '.processes | map(.rssBytes) | add'", "Memory of all together"),
            ],
            triedAs: ["htop", "processes"])
    ) { call in
        let name = call.words.operand("NAME")
        let client = call.client()
        let interval = call.words.seconds("interval")
        if let interval, interval > 10 {
            throw UsageError("bad value '\(interval)' for --interval: at most 10 seconds", command: "top")
        }
        guard isatty(STDOUT_FILENO) == 1, !call.words.has("once"), !call.console.json else {
            let processes = try client.top(name, interval: interval ?? 0.2)
            try call.console.print(processes, lines: table(of: processes, call.console.outStyle))
            return 0
        }
        var processes = try client.top(name, interval: 0.2)
        let screen = LiveScreen()
        defer { screen.leave() }
        while true {
            screen.show(table(of: processes, call.console.outStyle))
            if screen.isLeft(within: 0) { return 0 }
            processes = try client.top(name, interval: 0)
            let before = processes
            if screen.isLeft(within: interval ?? 2) { return 0 }
            processes = try client.top(name, interval: 0)
            measure(&processes, since: before, seconds: interval ?? 2)
        }
    }

    /// Replaces the share since the start by that of the last interval.
    private static func measure(_ table: inout ProcessTable, since before: ProcessTable, seconds: Double) {
        var used: [Int32: SandboxedProcess] = [:]
        for process in before.processes { used[process.hostPid] = process }
        for index in table.processes.indices {
            let process = table.processes[index]
            let same = used[process.hostPid].flatMap { $0.started == process.started ? $0 : nil }
            let cpu = process.cpuSeconds - (same?.cpuSeconds ?? 0)
            table.processes[index].cpuPercent = max(0, cpu / seconds * 100)
        }
    }

    private static func table(of list: ProcessTable, _ style: Style) -> [String] {
        var table = TextTable(["PID", "PPID", "USER", "S", "CPU%", "RSS", "THREADS", "TIME", "COMMAND"])
        for process in list.processes {
            table.add([
                .init("\(process.pid)", .id), .init("\(process.parent)"), .init(style.clean(process.user)),
                .init(process.state), .init(decimal(process.cpuPercent, digits: 1)),
                .init(sizeText(bytes: process.rssBytes)), .init("\(process.threads)"),
                .init(decimal(process.cpuSeconds, digits: 2)), .init(style.clean(process.command)),
            ])
        }
        return table.lines(style)
    }
}
