import Client
import CommandInterface
import Glibc
import Messages

extension Command {
    static let stats = Command(
        CommandDescription(
            "stats", "show what sandboxes use: CPU, memory, processes, I/O, pressure",
            discussion: [
                "Without names, all that run. CPU is the share of one CPU over the interval. A sandbox with limits is "
                    + "counted by its cgroup; what no cgroup counts is added up from its processes, shared memory "
                    + "once for each. PRESSURE is the share of the last ten seconds in which some process waited for "
                    + "CPU / memory / I/O.",
                "--stream prints again and again, until Ctrl-C; on a terminal in place, with --json a line each time.",
            ],
            operands: [OperandDescription("NAME", .sandbox, .optionalMany)],
            options: [
                OptionDescription("stream", "Go on until Ctrl-C"),
                OptionDescription(
                    "interval", value: "SEC", .seconds,
                    "Measure over so many seconds, 10 at most; default: 0.5"),
            ],
            examples: [
                Example("ckpt stats", "All sandboxes that run"),
                Example("ckpt stats main --stream", "Watch one"),
                Example(
                    "ckpt stats main --json | jq '.statistics[0].memory.currentBytes'",
                    "One number for a program"),
            ],
            triedAs: ["usage"])
    ) { call in
        let client = call.client()
        let interval = call.words.seconds("interval") ?? 0.5
        if interval > 10 {
            throw UsageError("bad value '\(interval)' for --interval: at most 10 seconds", command: "stats")
        }
        guard call.words.has("stream") else {
            return try show(call, try look(call, client, interval))
        }
        if call.console.json || isatty(STDOUT_FILENO) != 1 {
            // Ctrl-C is how this ends.
            signal(SIGINT, SIG_DFL)
            while true { _ = try show(call, try look(call, client, interval)) }
        }
        let screen = LiveScreen()
        defer { screen.leave() }
        while true {
            screen.show(table(of: try look(call, client, interval), call.console.outStyle))
            if screen.isLeft(within: 0.5) { return 0 }
        }
    }

    private static func look(
        _ call: Invocation, _ client: Client, _ interval: Double
    ) throws -> StatisticsList {
        let named = call.words.operands("NAME")
        var names = named
        if names.isEmpty {
            names = try client.sandboxes().sandboxes.filter { $0.state == .running || $0.state == .paused }
                .map(\.name)
        }
        var list = StatisticsList()
        // The time to measure is shared: the first waits, the others tell what passed since their last look.
        for name in names {
            do throws(ErrorMessage) {
                list.statistics.append(try client.stats(name, interval: interval))
            } catch {
                // One that has just gone is no error where nobody named it.
                if !named.isEmpty { throw error }
            }
        }
        return list
    }

    private static func show(_ call: Invocation, _ list: StatisticsList) throws -> Int32 {
        try call.console.print(list, lines: table(of: list, call.console.outStyle))
        if !call.console.json, let reason = list.statistics.compactMap(\.pressure.unavailable).first {
            call.console.note("pressure is not available: \(reason)")
        }
        return 0
    }

    private static func table(of list: StatisticsList, _ style: Style) -> [String] {
        var table = TextTable(
            ["NAME", "CPU%", "CPUS", "MEM", "LIMIT", "PEAK", "PIDS", "READ", "WRITTEN", "PRESSURE", "OOM"])
        for one in list.statistics {
            let size = { (bytes: Int64?) in bytes.map { sizeText(bytes: $0) } ?? "-" }
            let pressure = [one.pressure.cpu, one.pressure.memory, one.pressure.io].map { pressure in
                pressure.map { decimal($0.some.avg10, digits: 1) } ?? "-"
            }
            let pids = one.pids.limit.map { "\(one.pids.current)/\($0)" } ?? "\(one.pids.current)"
            table.add([
                .init(one.sandbox), .init(decimal(one.cpu.percent, digits: 1)),
                .init(one.cpu.limit.map { decimal($0, digits: 2) } ?? "-"),
                .init(size(one.memory.currentBytes)), .init(size(one.memory.limitBytes)),
                .init(size(one.memory.peakBytes)), .init(pids),
                .init(size(Int64(clamping: one.io.readBytes))),
                .init(size(Int64(clamping: one.io.writeBytes))),
                .init(pressure.joined(separator: "/")),
                .init(
                    one.memory.oomKills.map { "\($0)" } ?? "-", one.memory.oomKills ?? 0 > 0 ? .bad : .plain),
            ])
        }
        return table.lines(style)
    }
}

/// What `ckpt stats --json` prints.
private struct StatisticsList: Encodable {
    var statistics: [SandboxStatistics] = []
}
