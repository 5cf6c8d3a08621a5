/// Reads a command line by the descriptions of the commands.
public struct Parser: Sendable {
    /// The commands it knows.
    public let commands: [CommandDescription]

    /// A parser for these commands.
    public init(_ commands: [CommandDescription]) { self.commands = commands }

    /// Reads the words after `ckpt`; throws what is wrong with them.
    ///
    /// Common options may stand before the command's name.
    public func parse(_ words: [String]) throws(UsageError) -> ParsedWords {
        var reader = WordReader(words: words[...])
        let early = CommandDescription("", "", examples: [])
        var before = ParsedWords(command: early)
        while let word = reader.words.first, word.hasPrefix("-"), word != "-", !before.wantsHelp {
            reader.words.removeFirst()
            if word == "--version" { return ParsedWords(command: try command("version")) }
            try reader.takeOption(word, into: &before)
        }
        guard let name = reader.words.popFirst() else {
            if before.wantsHelp { return ParsedWords(command: try command("help")) }
            throw UsageError("missing command", command: nil)
        }
        var parsed = ParsedWords(command: try command(name))
        parsed.values = before.values
        parsed.flags = before.flags
        parsed.wantsHelp = before.wantsHelp
        if !parsed.wantsHelp { try reader.takeAll(into: &parsed) }
        return parsed
    }

    /// The command of that name; throws the nearest one.
    public func command(_ name: String) throws(UsageError) -> CommandDescription {
        if let found = commands.first(where: { $0.name == name }) { return found }
        let tried = commands.first { $0.triedAs.contains(name) }?.name
        let suggestion = tried ?? nearestWord(to: name, among: commands.map(\.name))
        throw UsageError(
            "unknown command '\(name)'", command: nil, suggestion: suggestion.map { "'ckpt \($0)'" })
    }
}

/// Takes the words of one command line from the left.
private struct WordReader {
    var words: ArraySlice<String>
    var positional: [String] = []

    mutating func takeAll(into parsed: inout ParsedWords) throws(UsageError) {
        let operands = parsed.command.operands
        let beforeRest = operands.firstIndex { $0.takesRest }
        while let word = words.popFirst() {
            if word == "--" {
                positional += words
                break
            }
            if word.hasPrefix("-"), word != "-" {
                try takeOption(word, into: &parsed)
                if parsed.wantsHelp { return }
                continue
            }
            positional.append(word)
            // The sandbox's command starts here: its dashes are its own.
            if let beforeRest, positional.count > beforeRest {
                positional += words
                break
            }
        }
        try assignOperands(into: &parsed)
    }

    mutating func takeOption(_ word: String, into parsed: inout ParsedWords) throws(UsageError) {
        if word.hasPrefix("--") {
            try takeLong(word, into: &parsed)
        } else {
            try takeShort(word, into: &parsed)
        }
    }

    private mutating func takeLong(_ word: String, into parsed: inout ParsedWords) throws(UsageError) {
        let halves = word.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let name = halves.first.map(String.init) ?? ""
        guard let option = parsed.command.allOptions.first(where: { $0.isCalled(name) }) else {
            if let foreign = parsed.command.foreign.first(where: { $0.isCalled(name) }) {
                return try pass(foreign, value: halves.count == 2 ? String(halves[1]) : nil, parsed)
            }
            let near = nearestWord(to: name, among: parsed.command.suggestableOptions)
            throw complaint("unknown option --\(name)", parsed, suggestion: near.map { "--\($0)" })
        }
        if option.placeholder == nil {
            switch halves.count == 2 ? halves[1] : "true" {
            case "true": set(option, in: &parsed)
            case "false": parsed.flags.remove(option.name)
            default: throw complaint("option --\(name) takes no value", parsed)
            }
        } else {
            let value = halves.count == 2 ? String(halves[1]) : try nextValue(of: option, parsed)
            try add(value, to: option, in: &parsed)
        }
    }

    private mutating func takeShort(_ word: String, into parsed: inout ParsedWords) throws(UsageError) {
        var letters = word.dropFirst()
        while let letter = letters.popFirst() {
            guard let option = parsed.command.allOptions.first(where: { $0.short == letter }) else {
                if let foreign = parsed.command.foreign.first(where: { $0.short == letter }) {
                    try pass(foreign, value: letters.isEmpty ? nil : String(letters), parsed)
                    if foreign.takesValue { return }
                    continue
                }
                let whole = word.count > 2 ? " in \(word)" : ""
                let meant = parsed.command.allOptions.first { "-" + $0.name == word }
                let suggestion = meant.map { "--\($0.name)" }
                throw complaint("unknown option -\(letter)\(whole)", parsed, suggestion: suggestion)
            }
            guard option.placeholder != nil else {
                set(option, in: &parsed)
                continue
            }
            let value = letters.isEmpty ? try nextValue(of: option, parsed) : String(letters)
            try add(value, to: option, in: &parsed)
            return
        }
    }

    /// Passes over an option of another program, and its value; throws what to do instead.
    private mutating func pass(
        _ option: ForeignOption, value: String?, _ parsed: ParsedWords
    ) throws(UsageError) {
        var value = value
        if option.takesValue, value == nil {
            value = words.popFirst()
            if value == nil { throw complaint("option --\(option.name) needs a value", parsed) }
        }
        if let objection = option.objection(to: option.takesValue ? value : nil) {
            throw complaint(objection, parsed)
        }
    }

    private func set(_ option: OptionDescription, in parsed: inout ParsedWords) {
        if option.name == "help" { parsed.wantsHelp = true }
        parsed.flags.insert(option.name)
    }

    private func add(
        _ value: String, to option: OptionDescription, in parsed: inout ParsedWords
    ) throws(UsageError) {
        if let objection = option.kind.objection(to: value) {
            throw complaint("bad value '\(value)' for --\(option.name): \(objection)", parsed)
        }
        parsed.values[option.name, default: []].append(value)
    }

    /// The word after an option; one that is an option of this command itself is no value.
    private mutating func nextValue(
        of option: OptionDescription, _ parsed: ParsedWords
    ) throws(UsageError) -> String {
        let spelled = "--\(option.name)"
        guard let next = words.first else {
            throw complaint("option \(spelled) needs \(option.kind.meaning)", parsed)
        }
        let isOption = parsed.command.allOptions.contains {
            next.hasPrefix("--") && $0.isCalled(next.dropFirst(2))
        }
        if isOption || next == "--" {
            throw complaint("option \(spelled) needs \(option.kind.meaning), not the option \(next)", parsed)
        }
        words.removeFirst()
        return next
    }

    private func assignOperands(into parsed: inout ParsedWords) throws(UsageError) {
        var left = positional[...]
        for operand in parsed.command.operands {
            if left.isEmpty {
                if operand.mayBeMissing { continue }
                let need = "\(parsed.command.name) needs \(operand.kind.meaning)"
                throw complaint("missing \(operand.name): \(need)", parsed)
            }
            let takesAll = operand.takesRest || operand.takesMany
            let taken = takesAll ? Array(left) : [left[left.startIndex]]
            left = left.dropFirst(taken.count)
            for word in taken {
                guard let objection = operand.kind.objection(to: word) else { continue }
                throw complaint("bad \(operand.name) '\(word)': \(objection)", parsed)
            }
            parsed.operands[operand.name] = taken
        }
        if let extra = left.first { throw complaint("unexpected word '\(extra)'", parsed) }
    }

    private func complaint(
        _ message: String, _ parsed: ParsedWords, suggestion: String? = nil
    ) -> UsageError {
        let name = parsed.command.name
        return UsageError(message, command: name.isEmpty ? nil : name, suggestion: suggestion)
    }
}
