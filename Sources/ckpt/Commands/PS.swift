import Client
import CommandInterface
import Messages

extension Command {
    static let ps = Command(
        CommandDescription(
            "ps", "list the sandboxes",
            discussion: [
                "CPU% is the share of one CPU since the last look, or since the start; MEM what is in use; PIDS counts "
                    + "processes and threads, PID 1 included; SNAPSHOT is where the sandbox stands, empty at the base."
            ],
            options: [OptionDescription("quiet", short: "q", "Print the names alone")],
            examples: [
                Example("ckpt ps", "All sandboxes"),
                Example("ckpt rm -f $(ckpt ps -q)", "Remove every one of them"),
                Example(
                    "ckpt ps --json | jq -r '.sandboxes[] | select(.state == \"dead\") | .name'", "The dead"),
            ],
            triedAs: ["ls", "list", "sandboxes", "status"])
    ) { call in
        let list = try call.client().sandboxes()
        if call.words.has("quiet"), !call.console.json {
            try call.console.printLines(list.sandboxes.map(\.name))
            return 0
        }
        try call.console.print(list, lines: table(of: list.sandboxes, call.console.outStyle))
        return 0
    }

    private static func table(of sandboxes: [SandboxInfo], _ style: Style) -> [String] {
        var table = TextTable([
            "NAME", "STATE", "CPU%", "MEM", "PIDS", "SNAPSHOT", "BASE", "AGE", "PORTS", "SESSIONS", "REASON",
        ])
        for sandbox in sandboxes.sorted(by: { ($0.created, $0.name) < ($1.created, $1.name) }) {
            let state = "\(style.sign(sandbox.state)) \(sandbox.state.rawValue)"
            table.add([
                .init(sandbox.name), .init(state, style.role(sandbox.state)),
                .init(sandbox.usage.map { decimal($0.cpuPercent, digits: 1) } ?? ""),
                .init(sandbox.usage.map { sizeText(bytes: $0.memoryBytes) } ?? ""),
                .init(sandbox.usage.map { "\($0.pids)" } ?? ""),
                .init(String((sandbox.snapshot ?? "").prefix(12)), .id),
                .init(style.clean(sandbox.spec.base.description)),
                .init(ageText(seconds: currentTime() - sandbox.created), .faint),
                .init((sandbox.ports ?? []).map(\.description).joined(separator: ",")),
                .init(style.clean(sandbox.sessions.joined(separator: ","))),
                .init(style.clean(sandbox.reason ?? ""), .dead),
            ])
        }
        return table.lines(style)
    }
}
