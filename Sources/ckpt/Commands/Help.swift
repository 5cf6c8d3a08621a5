import CommandInterface

extension Command {
    static let help = Command(
        CommandDescription(
            "help", "explain ckpt, or one of its commands",
            operands: [OperandDescription("COMMAND", .command, .optional)],
            options: [OptionDescription("markdown", "Print the manual of all commands as Markdown")],
            examples: [
                Example("ckpt help", "All commands"),
                Example("ckpt help fork", "One command, as 'ckpt fork --help'"),
            ],
            triedAs: ["man", "usage"])
    ) { call in
        let groups = Command.groups.map { CommandGroup($0.title, $0.commands.map(\.description)) }
        if call.words.has("markdown") {
            try writeAll(commandManual(groups, preface: manualPreface), to: 1)
            return 0
        }
        let help = HelpText(style: call.console.outStyle)
        if let name = call.words.optionalOperand("COMMAND") {
            try call.console.printLines(help.help(for: try Parser(descriptions).command(name)))
        } else {
            try call.console.printLines(help.overview(groups))
        }
        return 0
    }

    private static let manualPreface = [
        "A SNAPSHOT is an id or the beginning of one, a tag, a sandbox's name (the snapshot that it stands on), "
            + "or any of these followed by `~N` (N ancestors up). A NAME is 1 to 63 letters, digits, `_`, `.` "
            + "and `-`, and starts with a letter or digit.",
        "State is kept under `--root DIR`, else `CKPT_ROOT`, else `/var/lib/ckpt` for root and "
            + "`$XDG_DATA_HOME/ckpt` (`~/.local/share/ckpt`) for others. A server for it is started on first use.",
        "Results go to stdout and everything else to stderr. An error reads `ckpt: what happened: why (hint: "
            + "what to do)`, or with `--json` `{\"error\": {\"code\", \"message\", \"hint\", \"cause\"}}`. Colours "
            + "are used on a terminal unless `NO_COLOR` is set.",
    ]
}
