import CTwin
import CommandInterface
import Glibc
import Messages

/// Runs one command line, the words after `ckpt`, and returns its exit code.
func runTool(_ words: [String]) -> Int32 {
    // A reader that goes away shows as EPIPE, which is dealt with where it happens.
    signal(SIGPIPE, SIG_IGN)
    Interrupt.install()
    // What Twins.TwinHolder starts.
    if words == ["__hold-twins"] { ctwin_hold(3) }
    if words.first == "__complete" { return printCompletions(Array(words.dropFirst())) }
    let commands = Command.groups.flatMap(\.commands)
    let parsed: ParsedWords
    do throws(UsageError) {
        parsed = try Parser(commands.map(\.description)).parse(words)
    } catch {
        let ownWords = words.prefix { $0 != "--" }
        return report(error, json: ownWords.contains("--json"))
    }
    let console = Console(json: parsed.has("json"), verbose: parsed.has("verbose"))
    do {
        if parsed.wantsHelp {
            try console.printLines(HelpText(style: console.outStyle).help(for: parsed.command))
            return 0
        }
        let command = commands.first { $0.description.name == parsed.command.name }!
        return try command.run(Invocation(words: parsed, console: console))
    } catch let error as UsageError {
        return report(error, json: console.json)
    } catch let error as OutputClosed {
        return error.exitCode
    } catch {
        console.report(errorMessage(error))
        return ExitStatus.failure
    }
}

private func report(_ error: UsageError, json: Bool) -> Int32 {
    let console = Console(json: json, verbose: false)
    console.report(ErrorMessage(.badRequest, error.message, hint: error.hint))
    return ExitStatus.usage
}

/// The exit codes of ckpt's own.
enum ExitStatus {
    static let usage: Int32 = 2
    static let failure: Int32 = 125
}
