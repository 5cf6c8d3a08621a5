/// What may stand where the cursor is.
public enum CompletionAnswer: Equatable, Sendable {
    /// One of these words.
    case words([Candidate])
    /// A value of this kind; `lead` is what stands before it in the same word, such as `--base=`.
    case value(ValueKind, lead: String)
    /// Nothing that ckpt could know.
    case nothing

    /// A word and what it means.
    public struct Candidate: Equatable, Sendable {
        /// The whole word.
        public let word: String
        /// What it means, one clause; may be empty.
        public let help: String

        /// A candidate.
        public init(_ word: String, _ help: String = "") {
            self.word = word
            self.help = help
        }
    }
}

/// Finds out what may stand where the cursor is, by the descriptions of the commands.
public struct Completer: Sendable {
    private let commands: [CommandDescription]

    /// A completer for these commands.
    public init(_ commands: [CommandDescription]) { self.commands = commands }

    /// What may stand in place of the last of `words`, which are those after `ckpt`.
    public func answer(_ words: [String]) -> CompletionAnswer {
        guard let current = words.last else { return .nothing }
        var walk = Walk()
        for word in words.dropLast() { walk.step(over: word, commands) }
        if let option = walk.awaiting { return .value(option.kind, lead: "") }
        let options = walk.command?.allOptions ?? CommandDescription.commonOptions
        if !walk.optionsEnded, current.hasPrefix("-") {
            return self.options(options, current, given: walk.given)
        }
        guard let command = walk.command else {
            return .words(commands.map { .init($0.name, $0.summary) })
        }
        guard let operand = operand(of: command, at: walk.operands) else { return .nothing }
        return .value(operand.kind, lead: "")
    }

    private func options(
        _ options: [OptionDescription], _ current: String, given: Set<String>
    ) -> CompletionAnswer {
        if let equals = current.firstIndex(of: "="), current.hasPrefix("--") {
            let name = String(current[..<equals].dropFirst(2))
            guard let option = options.first(where: { $0.name == name && $0.placeholder != nil }) else {
                return .nothing
            }
            return .value(option.kind, lead: String(current[...equals]))
        }
        let open = options.filter { !$0.help.isEmpty && ($0.repeats || !given.contains($0.name)) }
        return .words(open.map { .init("--\($0.name)", $0.help) })
    }

    /// The operand that takes the next word.
    private func operand(of command: CommandDescription, at index: Int) -> OperandDescription? {
        if index < command.operands.count { return command.operands[index] }
        guard let last = command.operands.last else { return nil }
        return last.takesMany || last.takesRest ? last : nil
    }
}

/// What the words before the cursor have settled.
private struct Walk {
    var command: CommandDescription?
    /// The option whose value comes next.
    var awaiting: OptionDescription?
    var optionsEnded = false
    var operands = 0
    var given: Set<String> = []

    mutating func step(over word: String, _ commands: [CommandDescription]) {
        if awaiting != nil {
            awaiting = nil
        } else if !optionsEnded, word == "--" {
            optionsEnded = true
        } else if !optionsEnded, word.hasPrefix("-"), word != "-" {
            stepOverOption(word)
        } else if let command {
            let index = operands
            operands += 1
            // The sandbox's command has options of its own.
            if index < command.operands.count, command.operands[index].takesRest { optionsEnded = true }
        } else {
            command = commands.first { $0.name == word } ?? CommandDescription("", "", examples: [])
        }
    }

    private mutating func stepOverOption(_ word: String) {
        let options = command?.allOptions ?? CommandDescription.commonOptions
        if word.hasPrefix("--") {
            let name = String(word.dropFirst(2).prefix { $0 != "=" })
            guard let option = options.first(where: { $0.name == name }) else { return }
            given.insert(name)
            if option.placeholder != nil, !word.contains("=") { awaiting = option }
            return
        }
        var letters = word.dropFirst()
        while let letter = letters.popFirst() {
            guard let option = options.first(where: { $0.short == letter }) else { return }
            given.insert(option.name)
            guard option.placeholder != nil else { continue }
            if letters.isEmpty { awaiting = option }
            return
        }
    }
}
