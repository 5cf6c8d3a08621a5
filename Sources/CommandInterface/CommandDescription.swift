/// Everything that is known about one command: usage, help, completion and the manual are made from it.
public struct CommandDescription: Sendable {
    /// The word after `ckpt`.
    public let name: String
    /// What it does, one clause without a full stop.
    public let summary: String
    /// What a reader needs beyond the summary, one paragraph an element.
    public let discussion: [String]
    /// The words without a dash, in order.
    public let operands: [OperandDescription]
    /// Its own options; the common ones come on top.
    public let options: [OptionDescription]
    /// Real calls, and what each is for.
    public let examples: [Example]
    /// Exit codes beyond those that every command shares.
    public let exitCodes: [ExitCode]
    /// Words that people try for this command; only used to suggest it.
    public let triedAs: [String]
    /// Options of other programs that people give out of habit.
    public let foreign: [ForeignOption]
    /// Usage lines where the generated one would say too little.
    public let usageLines: [String]

    /// A command and its words.
    public init(
        _ name: String, _ summary: String, discussion: [String] = [], operands: [OperandDescription] = [],
        options: [OptionDescription] = [], examples: [Example], exitCodes: [ExitCode] = [],
        triedAs: [String] = [], usageLines: [String] = [], foreign: [ForeignOption] = []
    ) {
        self.name = name
        self.summary = summary
        self.discussion = discussion
        self.operands = operands
        self.options = options
        self.foreign = foreign
        self.examples = examples
        self.exitCodes = exitCodes
        self.triedAs = triedAs
        self.usageLines = usageLines
    }

    /// What every command takes.
    public static let commonOptions = [
        OptionDescription("json", "Print what the server knows as JSON, and errors as JSON on stderr"),
        OptionDescription(
            "root", value: "DIR", .directory, "Keep sandboxes and snapshots under DIR instead of CKPT_ROOT"),
        OptionDescription("verbose", short: "v", "Say on stderr where the time went"),
        OptionDescription("help", short: "h", "Print this help"),
    ]

    /// Its own options and the common ones, these without a letter that an own one has.
    public var allOptions: [OptionDescription] {
        let taken = Set(options.compactMap(\.short))
        return options
            + Self.commonOptions.map { $0.short.map(taken.contains) == true ? $0.withoutShort : $0 }
    }

    /// The names of options worth suggesting.
    var suggestableOptions: [String] { helpedOptions.map(\.name) }

    /// Its own options that people may give.
    var publicOptions: [OptionDescription] { options.filter { !$0.help.isEmpty } }

    /// All options that people may give.
    var helpedOptions: [OptionDescription] { allOptions.filter { !$0.help.isEmpty } }
}

/// One option of a command.
public struct OptionDescription: Sendable {
    /// The word after `--`.
    public let name: String
    /// The letter after `-`.
    public let short: Character?
    /// What its value is called in the usage; nil for a flag.
    public let placeholder: String?
    /// What its value is.
    public let kind: ValueKind
    /// Whether it may be given several times, each adding a value.
    public let repeats: Bool
    /// Other words after `--` that mean the same; help does not name them.
    public let aliases: [String]
    /// What it does, one clause; empty for an option that no help names.
    public let help: String

    /// A flag.
    public init(_ name: String, short: Character? = nil, aliases: [String] = [], _ help: String) {
        (self.name, self.short, self.help, self.aliases) = (name, short, help, aliases)
        (placeholder, kind, repeats) = (nil, .text, false)
    }

    /// An option with a value, called `placeholder` in the usage.
    public init(
        _ name: String, short: Character? = nil, aliases: [String] = [], value placeholder: String,
        _ kind: ValueKind, repeats: Bool = false, _ help: String
    ) {
        (self.name, self.short, self.help, self.aliases) = (name, short, help, aliases)
        (self.placeholder, self.kind, self.repeats) = (placeholder, kind, repeats)
    }

    /// A flag without its letter.
    var withoutShort: OptionDescription { OptionDescription(name, aliases: aliases, help) }

    /// Whether `word` is how it is called after `--`.
    func isCalled(_ word: some StringProtocol) -> Bool { name == word || aliases.contains { $0 == word } }

    /// How the usage spells it: `-t, --tag TAG`.
    public var spelling: String {
        let letter = short.map { "-\($0), " } ?? "    "
        return letter + "--\(name)" + (placeholder.map { " \($0)" } ?? "") + (repeats ? "…" : "")
    }
}

/// One place for words without a dash.
public struct OperandDescription: Sendable {
    /// How many words it takes.
    public enum Count: Sendable {
        case one, optional
        /// One or more.
        case many
        /// Any number.
        case optionalMany
        /// This word and all that follow, dashes or not: the sandbox's command.
        case rest
        /// The same, or none at all.
        case optionalRest
    }
    /// What it is called in the usage.
    public let name: String
    /// What its words are.
    public let kind: ValueKind
    /// How many words it takes.
    public let count: Count

    /// A place for words.
    public init(_ name: String, _ kind: ValueKind, _ count: Count = .one) {
        self.name = name
        self.kind = kind
        self.count = count
    }

    /// How the usage spells it: `[SNAPSHOT]`, `NAME…`.
    public var spelling: String {
        switch count {
        case .one: name
        case .optional: "[\(name)]"
        case .many: "\(name)…"
        case .optionalMany: "[\(name)…]"
        case .rest: "[--] \(name)…"
        case .optionalRest: "[[--] \(name)…]"
        }
    }

    var takesMany: Bool { count == .many || count == .optionalMany }
    var takesRest: Bool { count == .rest || count == .optionalRest }
    var mayBeMissing: Bool { count == .optional || count == .optionalMany || count == .optionalRest }
}

/// A call worth copying.
public struct Example: Sendable {
    /// The call, as typed.
    public let call: String
    /// What it is for, one clause.
    public let purpose: String

    /// A call and its purpose.
    public init(_ call: String, _ purpose: String) {
        self.call = call
        self.purpose = purpose
    }
}

/// An exit code and when it is given.
public struct ExitCode: Sendable {
    /// How the help spells it: `124`, or `other`.
    public let code: String
    /// When it is given.
    public let meaning: String

    /// An exit code and its meaning.
    public init(_ code: String, _ meaning: String) {
        self.code = code
        self.meaning = meaning
    }

    /// What every command shares.
    public static let common = [
        ExitCode("0", "it was done"),
        ExitCode("2", "the command line is wrong"),
        ExitCode("125", "ckpt could not do it, or was interrupted; the reason is on stderr"),
    ]
}
