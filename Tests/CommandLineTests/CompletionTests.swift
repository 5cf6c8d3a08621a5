import CommandInterface
import Foundation
import Testing

@Suite("What may stand at the cursor")
struct CompleterTests {
    func answer(_ line: String) -> CompletionAnswer {
        let words = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        return Completer(ParserTests.commands).answer(words)
    }

    func words(_ line: String) -> [String] {
        guard case .words(let candidates) = answer(line) else { return [] }
        return candidates.map(\.word)
    }

    @Test("Commands, also after common options")
    func commands() {
        #expect(words("").contains("restore"))
        #expect(words("--root /x sa").contains("save"))
        #expect(words("--j") == ["--json", "--root", "--verbose", "--help"])
    }

    @Test("Operands and the values of options")
    func values() {
        #expect(answer("save ") == .value(.sandbox, lead: ""))
        #expect(answer("save --number ") == .value(.number(1...10), lead: ""))
        #expect(answer("save -sn ") == .value(.number(1...10), lead: ""))
        #expect(answer("save -n3 ") == .value(.sandbox, lead: ""))
        #expect(answer("save --tag=x") == .value(.newTag, lead: "--tag="))
        #expect(answer("save --stop=x") == .nothing)
        #expect(answer("save main ") == .nothing)
        #expect(answer("restore main ") == .value(.snapshot, lead: ""))
        #expect(answer("rm a b ") == .value(.sandbox, lead: ""))
        #expect(answer("unknown ") == .nothing)
    }

    @Test("Options that were given are not offered again, unless they repeat")
    func options() {
        #expect(
            words("save --stop -t x --env A=1 --").sorted() == [
                "--env", "--force", "--help", "--json", "--number", "--root", "--verbose",
            ])
    }

    @Test("After the sandbox's command begins, its words are its own")
    func program() {
        #expect(answer("exec main ls -") == .value(.program, lead: ""))
        #expect(answer("exec main -- -") == .value(.program, lead: ""))
        #expect(words("exec main -").contains("--tty"))
    }
}

@Suite("Completion in shells")
struct ShellCompletionTests {
    /// Completes a line as bash does; the words are cut as COMP_WORDBREAKS says.
    func bash(_ words: [String], in directory: String = "/") throws -> [String] {
        let quoted = words.map { "'\($0)'" }.joined(separator: " ")
        let script = """
            source <(ckpt completion bash)
            [[ $(complete -p ckpt) == 'complete -F _ckpt ckpt' ]] || exit 9
            cd '\(directory)'
            COMP_WORDS=(\(quoted)); COMP_CWORD=\(words.count - 1)
            _ckpt
            printf '%s\\n' "${COMPREPLY[@]}"
            """
        let outcome = try CkptProgram.run("/bin/bash", ["--norc", "-c", script])
        try #require(outcome.code == 0)
        #expect(outcome.errors.isEmpty)
        return outcome.output.split(separator: "\n").map(String.init)
    }

    @Test("bash takes the script")
    func bashSyntax() throws {
        let script = try CkptProgram.call("completion", "bash").output
        let scratch = try ScratchDirectory()
        try scratch.write(script, to: "script")
        let outcome = try CkptProgram.run("/bin/bash", ["-n", "\(scratch.path)/script"])
        #expect(outcome.code == 0 && outcome.errors.isEmpty)
    }

    @Test(
        "bash completes commands, options and fixed values",
        arguments: [
            (["ckpt", "sa"], ["save"]), (["ckpt", "re"], ["read", "reclaim", "reset", "restore"]),
            (["ckpt", "save", "--st"], ["--stop"]),
            (["ckpt", "completion", ""], ["bash", "zsh"]), (["ckpt", "help", "doc"], ["doctor"]),
            (["ckpt", "kill", "-s", "TE"], ["TERM"]), (["ckpt", "kill", "--signal", "=", "TE"], ["TERM"]),
            (["ckpt", "create", "x", "--base", "hos"], ["host"]),
            (["ckpt", "create", "x", "--base", "=", "hos"], ["host"]),
            (["ckpt", "save", "x", "--tag", "=", "a"], []), (["ckpt", "nonsense", ""], []),
        ] as [([String], [String])])
    func bashWords(words: [String], expected: [String]) throws {
        #expect(try bash(words).sorted() == expected)
    }

    @Test("bash completes paths, with spaces and colons in them")
    func bashPaths() throws {
        let scratch = try ScratchDirectory()
        for name in ["a file", "a-dir"] { mkdir("\(scratch.path)/\(name)", 0o755) }
        try scratch.write("", to: "a-plain")
        #expect(try bash(["ckpt", "cp", "a"], in: scratch.path).sorted() == ["a file", "a-dir", "a-plain"])
        #expect(
            try bash(["ckpt", "create", "x", "--base", "=", "a"], in: scratch.path).sorted() == [
                "a file", "a-dir",
            ])
        #expect(try bash(["ckpt", "--root", "a-d"], in: scratch.path) == ["a-dir"])
    }

    static let zsh = ["/bin/zsh", "/usr/bin/zsh"].first { FileManager.default.isExecutableFile(atPath: $0) }

    @Test("zsh takes the script", .enabled(if: zsh != nil, "zsh is not installed"))
    func zshSyntax() throws {
        let scratch = try ScratchDirectory()
        try scratch.write(try CkptProgram.call("completion", "zsh").output, to: "_ckpt")
        let outcome = try CkptProgram.run(try #require(Self.zsh), ["-n", "\(scratch.path)/_ckpt"])
        #expect(outcome.code == 0 && outcome.errors.isEmpty)
    }

    @Test("zsh completes in a terminal of its own", .enabled(if: zsh != nil, "zsh is not installed"))
    func zshWords() throws {
        // zsh's completion only works in its line editor, which zpty runs; what is typed before that has started
        // is lost.
        let script = #"""
            zmodload zsh/zpty
            zpty z 'zsh -f -i'
            zpty -w z 'PROMPT=; autoload -Uz compinit && compinit -u -D; source <(ckpt completion zsh)'
            zpty -w z 'zle-line-init() { print -n "<ed""it>" }; zle -N zle-line-init'
            zpty -r z out '*<edit>*'
            zpty -n -w z $'ckpt rese\t'
            zpty -n -w z $' --js\t'
            zpty -n -w z $'\C-aprint -r -- GOT \C-e END\n'
            zpty -r z out '*GOT ckpt*END*GOT ckpt*END*'
            print -r -- $out
            zpty -d z
            """#
        let outcome = try CkptProgram.run(
            "/usr/bin/timeout", ["-s", "KILL", "60", try #require(Self.zsh), "-f", "-c", script])
        #expect(outcome.output.contains("GOT ckpt reset --json END"))
    }
}
