import Benchmark
import CommandInterface
import Messages

extension Command {
    static let bench = Command(
        CommandDescription(
            "bench", "measure ckpt on this machine, beside the least that each operation can cost",
            discussion: [
                "Starts a server of its own in a new directory below the root, or where the root is to be, and takes all of "
                    + "it away again, also after Ctrl-C. Times are those of requests over the server's Unix socket. "
                    + "Without --quick it takes some ten minutes.",
                "FLOOR is measured in the same run: a plain C program that makes namespaces and an overlay and "
                    + "executes bash, commands on pipes to that bash, and CRIU driven by hand on the same "
                    + "processes, while the server lets processors sleep as they do without it. BUDGET is worked out from "
                    + "the floors. On a busy machine the figures say little.",
                "Operations whose names have no slash are on an idle bash; session-hops is what it takes to hand a "
                    + "byte through three processes and back, session-by-id a builtin with an id by which it can be asked "
                    + "for once more, as the Python package makes its calls; save-frozen is how long everything stands still, save-criu and restore-criu what "
                    + "CRIU takes for PID 1 and all below it, of a save and a restore that it is told to make, "
                    + "save-durable a save that survives a power cut when it returns, and restore and fork last until everything has answered.",
            ],
            options: [
                OptionDescription(
                    "quick",
                    "End within 50 seconds, unless --passes says how often: fewer workloads and samples"),
                OptionDescription(
                    "only", value: "NAME", .choice(Benchmark.operationNames), repeats: true,
                    "Measure this operation, or all on this workload, alone"),
                OptionDescription(
                    "passes", value: "N", .number(1...100_000),
                    "Measure everything N times, and what is sustained for N tenths of a second; default: as often as "
                        + "there is time for"),
                OptionDescription(
                    "base", value: "BASE", .base, "Make the sandboxes from BASE; default: host"),
            ],
            examples: [
                Example("ckpt bench --quick", "Look how fast it is here"),
                Example("ckpt bench --only save --only restore", "Two operations, with many samples"),
                Example(
                    "ckpt bench --json | jq '.operations[] | select(.budget_ms and .median_ms > .budget_ms)'",
                    "What is slower than it should be"),
                Example("ckpt bench --quick --root /mnt/btrfs/ckpt", "Try another filesystem"),
            ],
            exitCodes: [ExitCode("1", "something could not be measured")],
            triedAs: ["benchmark", "perf", "speed", "time"])
    ) { call in
        let base = call.words.value("base").map { $0 == "host" ? .host : Base(absolute($0)) } ?? .host
        let benchmark = Benchmark(
            root: call.root, base: base, isQuick: call.words.has("quick"), only: call.words.values("only"),
            passes: call.words.number("passes"))
        let console = call.console
        let report = try benchmark.measure { console.note($0) }
        try console.print(report, lines: lines(of: report, console.outStyle))
        return report.failures.isEmpty ? 0 : 1
    }

    private static func lines(of report: BenchmarkReport, _ style: Style) -> [String] {
        var table = TextTable(["OPERATION", "MEDIAN", "P90", "P99", "FLOOR", "RATIO", "BUDGET", ""])
        for one in report.operations {
            let isKept = one.budget.map { one.median <= $0 }
            table.add([
                .init(one.name, .id), .init(figure(one.median)), .init(figure(one.p90)),
                .init(figure(report.samples[one.name]?.p99)), .init(figure(one.floor)),
                .init(one.ratio.map { decimal($0, digits: 1) } ?? ""), .init(figure(one.budget)),
                isKept.map { $0 ? .init("kept", .good) : .init("missed", .bad) } ?? "",
            ])
        }
        let place = report.place
        return table.lines(style) + sustainedLines(report, style) + [
            "",
            "milliseconds; ckpt \(place.version), kernel \(place.kernel), \(place.cores) cores, "
                + "\(sizeText(bytes: place.memoryBytes)) of memory, \(place.filesystem), "
                + momentText(place.time),
        ]
            + (place.load > 0.5 * Double(place.cores)
                ? [
                    "the machine was busy when it began (load \(decimal(place.load, digits: 1))): measure again"
                ] : [])
            + (report.notes + report.failures).map(style.clean)
    }

    private static func sustainedLines(_ report: BenchmarkReport, _ style: Style) -> [String] {
        if report.sustained.isEmpty { return [] }
        var table = TextTable(["SUSTAINED", "", ""])
        for rate in report.sustained {
            let digits = rate.value < 100 && rate.unit != "bytes" ? 1 : 0
            table.add([.init(rate.name, .id), .init(decimal(rate.value, digits: digits)), .init(rate.unit)])
        }
        return [""] + table.lines(style)
    }

    /// Three digits or so, for a column.
    private static func figure(_ milliseconds: Double?) -> String {
        milliseconds.map { decimal($0, digits: $0 < 1 ? 3 : $0 < 100 ? 2 : 0) } ?? ""
    }
}
