import CommandInterface
import Messages

/// The options that say what a new sandbox is made of; `create` and `run` share them.
enum SpecOptions {
    static let all = [
        OptionDescription(
            "base", value: "host|DIR", .base,
            "Start from this machine's own programs (host, the default) or from the directory DIR"),
        OptionDescription(
            "hostname", value: "H", .newSandbox, "The host name inside; default: the sandbox's name"),
        OptionDescription(
            "env", value: "K=V", .assignment, repeats: true, "Set a variable for every command in the sandbox"
        ),
        OptionDescription(
            "workdir", value: "D", .insidePath,
            "Where commands start; default: /root, or / where that is missing"),
    ]

    /// The spec that the words ask for.
    static func spec(_ words: ParsedWords) -> SandboxSpec {
        let base = words.value("base") ?? "host"
        return SandboxSpec(
            base: base == "host" ? .host : .directory(absolute(base)), hostname: words.value("hostname"),
            env: words.assignments("env"), workdir: words.value("workdir"))
    }
}
