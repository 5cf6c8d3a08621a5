import Client
import CommandInterface
import Glibc
import Messages

/// `ckpt __complete WORDS…`: prints what may stand in place of the last word, for the completion scripts.
///
/// It must never disturb the person at the keyboard: errors are silent, and no server is started.
func printCompletions(_ words: [String]) -> Int32 {
    var lines: [String] = []
    switch Completer(Command.descriptions).answer(words) {
    case .nothing: break
    case .words(let candidates): lines = candidates.map { line($0.word, $0.help) }
    case .value(let kind, let lead):
        let source = CompletionSource(root: rootOption(in: words))
        let answers = source.values(of: kind, typed: String((words.last ?? "").dropFirst(lead.count)))
        lines = answers.map { $0.hasPrefix(":") ? $0 : lead + $0 }
    }
    let typed = words.last ?? ""
    try? writeAll(
        lines.filter { $0.hasPrefix(":") || $0.hasPrefix(typed) }.map { $0 + "\n" }.joined(),
        to: STDOUT_FILENO)
    return 0
}

private func line(_ word: String, _ help: String) -> String {
    "\(word)\t\(harmless(help, unicode: true))"
}

/// The value of `--root` among words that may not be complete.
private func rootOption(in words: [String]) -> String? {
    if let joined = words.first(where: { $0.hasPrefix("--root=") }) { return String(joined.dropFirst(7)) }
    guard let index = words.firstIndex(of: "--root"), index + 2 < words.count else { return nil }
    return words[index + 1]
}

/// Knows the values that words may have.
private struct CompletionSource {
    let root: String?

    /// The values of a kind, with their meaning after a tab; `:files` and the like are for the shell.
    func values(of kind: ValueKind, typed: String) -> [String] {
        switch kind {
        case .sandbox: sandboxes()
        case .snapshot: snapshots() + sandboxes()
        case .snapshotOrSandbox: sandboxes() + snapshots()
        case .tag: tags()
        case .directory: [":directories"]
        case .base: [line("host", "this machine's own programs"), ":directories"]
        case .path, .program: [":files"]
        case .copyEnd: copyEnds(typed)
        case .signal: signalNumbers.map { line($0.name, "signal \($0.number)") }
        case .choice(let words): words.map { line($0, "") }
        case .command: Command.descriptions.map { line($0.name, $0.summary) }
        case .spec(.network): Network.allCases.map { line($0.rawValue, "") }
        case .spec(.capability): (["ALL"] + Capability.names).map { line($0, "") }
        case .spec(.volume), .spec(.device): [":files"]
        case .text, .hostname, .newSandbox, .newTag, .insidePath, .number, .seconds, .span, .variable,
            .spec:
            []
        }
    }

    private var client: Client { Client(root: RootDirectory.choose(option: root), launch: nil) }

    private func sandboxes() -> [String] {
        let list = try? client.sandboxes().sandboxes
        return (list ?? []).map { line($0.name, "sandbox, \($0.state.rawValue)") }
    }

    private func tree() -> [SnapshotInfo] { (try? client.tree().snapshots) ?? [] }

    private func snapshots() -> [String] {
        tree().reversed().flatMap { snapshot in
            let what = snapshot.message ?? "saved from \(snapshot.sandbox)"
            return snapshot.tags.map { line($0, what) } + [line(snapshot.id, what)]
        }
    }

    private func tags() -> [String] {
        tree().flatMap { snapshot in snapshot.tags.map { line($0, "snapshot \(snapshot.id)") } }
    }

    private func copyEnds(_ typed: String) -> [String] {
        // After NAME: only the sandbox knows what there is.
        if typed.contains(":"), !typed.hasPrefix("."), !typed.hasPrefix("/") { return [] }
        let list = (try? client.sandboxes().sandboxes) ?? []
        let names = list.map { line("\($0.name):/", "inside the sandbox") }
        return names.isEmpty ? [":files"] : names + [":nospace", ":files"]
    }
}
