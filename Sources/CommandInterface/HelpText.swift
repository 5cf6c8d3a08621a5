/// Help for people, made from the descriptions of the commands.
public struct HelpText {
    private let style: Style
    private static let width = 96

    /// Help that looks like `style`.
    public init(style: Style) { self.style = style }

    /// What `ckpt COMMAND --help` prints.
    public func help(for command: CommandDescription) -> [String] {
        let dash = style.unicode ? "—" : "-"
        var lines = [style.paint("ckpt \(command.name)", .heading) + " \(dash) \(command.summary)", ""]
        lines += command.usage.enumerated().map { ($0.offset == 0 ? "usage: " : "       ") + $0.element }
        for paragraph in command.discussion {
            lines.append("")
            lines += wrapped(paragraph, to: Self.width - 2).map { "  \($0)" }
        }
        lines += section("options", command.helpedOptions.map { ($0.spelling, $0.help) })
        lines += ["", style.paint("examples", .heading)]
        for example in command.examples { lines += ["  \(example.call)", "      \(example.purpose)"] }
        lines += section("exit codes", command.allExitCodes.map { ($0.code, $0.meaning) })
        return lines.map { style.unicode ? $0 : asASCII($0) }
    }

    /// What `ckpt help` prints.
    public func overview(_ groups: [CommandGroup]) -> [String] {
        var lines = [
            "ckpt saves, rolls back and branches whole Linux sandboxes: files, memory and processes,",
            "in one consistent instant.", "", "usage: ckpt COMMAND [options] …",
        ]
        for group in groups { lines += section(group.title, group.commands.map { ($0.name, $0.summary) }) }
        let common = CommandDescription.commonOptions
        lines += section("every command takes", common.map { ($0.spelling, $0.help) })
        lines += ["", "'ckpt COMMAND --help' tells more, with examples; 'ckpt doctor' checks this machine."]
        return lines.map { style.unicode ? $0 : asASCII($0) }
    }

    private func section(_ title: String, _ entries: [(String, String)]) -> [String] {
        let width = entries.map { columns(of: $0.0) }.max() ?? 0
        let room = Self.width - width - 4
        return ["", style.paint(title, .heading)]
            + entries.flatMap { entry in
                wrapped(entry.1, to: room).enumerated().map { index, text in
                    "  " + padded(index == 0 ? entry.0 : "", to: width) + "  " + text
                }
            }
    }

    private func asASCII(_ line: String) -> String {
        line.reduce(into: "") { $0 += $1 == "…" ? "..." : $1 == "—" ? "-" : String($1) }
    }
}

/// Commands that belong together.
public struct CommandGroup: Sendable {
    /// What they are for.
    public let title: String
    /// The commands, in the order a reader meets them.
    public let commands: [CommandDescription]

    /// A group.
    public init(_ title: String, _ commands: [CommandDescription]) {
        self.title = title
        self.commands = commands
    }
}

extension CommandDescription {
    /// The usage lines: `ckpt save [options] NAME`.
    public var usage: [String] {
        if !usageLines.isEmpty { return usageLines }
        return [(["ckpt", name, "[options]"] + operands.map(\.spelling)).joined(separator: " ")]
    }

    /// Its own exit codes after those that every command shares.
    var allExitCodes: [ExitCode] {
        let own = Set(exitCodes.map(\.code))
        let common = ExitCode.common.filter { !own.contains($0.code) }
        return (common + exitCodes).sorted { (Int($0.code) ?? 1000) < (Int($1.code) ?? 1000) }
    }
}
