/// The commands as one Markdown page; `docs/commands.md` is this.
public func commandManual(_ groups: [CommandGroup], preface: [String]) -> String {
    var lines = ["# Commands", ""]
    lines += ["<!-- Made by `ckpt help --markdown`; do not edit. -->", ""]
    lines += preface.flatMap { [$0, ""] }
    lines += ["Every command takes:", ""]
    lines += optionTable(CommandDescription.commonOptions) + [""]
    lines += ["| exit code | when |", "|---|---|"]
    lines += ExitCode.common.map { "| \($0.code) | \($0.meaning) |" } + [""]
    for group in groups {
        lines += ["## \(group.title)", ""]
        for command in group.commands { lines += section(command) }
    }
    while lines.last == "" { lines.removeLast() }
    return lines.joined(separator: "\n") + "\n"
}

private func section(_ command: CommandDescription) -> [String] {
    var lines = ["### ckpt \(command.name)", "", sentence(command.summary), "", "```"]
    lines += command.usage + ["```", ""]
    lines += command.discussion.flatMap { [$0, ""] }
    if !command.publicOptions.isEmpty { lines += optionTable(command.publicOptions) + [""] }
    lines.append("```sh")
    for example in command.examples { lines += ["# \(example.purpose)", example.call] }
    lines += ["```", ""]
    if !command.exitCodes.isEmpty {
        let codes = command.exitCodes.map { "`\($0.code)` \($0.meaning)" }
        lines += ["Exit codes of its own: " + codes.joined(separator: "; ") + ".", ""]
    }
    return lines
}

private func optionTable(_ options: [OptionDescription]) -> [String] {
    ["| option | |", "|---|---|"]
        + options.map { option in
            let spelling = String(option.spelling.drop { $0 == " " })
            return "| `\(spelling)` | \(option.help.replacingBars()) |"
        }
}

private func sentence(_ clause: String) -> String {
    clause.prefix(1).uppercased() + clause.dropFirst() + "."
}

extension String {
    fileprivate func replacingBars() -> String { split(separator: "|").joined(separator: "\\|") }
}
