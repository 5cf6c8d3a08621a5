import CommandInterface

extension Command {
    static let completion = Command(
        CommandDescription(
            "completion", "print a completion script for a shell",
            discussion: [
                "It completes commands, options, sandboxes, snapshots, tags and paths. The script asks the "
                    + "installed ckpt, so it need not be made again for a new version."
            ],
            operands: [OperandDescription("bash|zsh", .choice(Shell.allCases.map(\.rawValue)))],
            examples: [
                Example("source <(ckpt completion bash)", "For this shell"),
                Example("ckpt completion bash > /etc/bash_completion.d/ckpt", "For every bash to come"),
                Example("ckpt completion zsh > ~/.zfunc/_ckpt", "For zsh, with ~/.zfunc in fpath"),
            ])
    ) { call in
        let script = Shell(rawValue: call.words.operand("bash|zsh"))!.completionScript
        try writeAll(script, to: 1)
        return 0
    }
}
