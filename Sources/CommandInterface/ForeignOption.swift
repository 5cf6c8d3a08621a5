/// An option of another program that people give out of habit. No help names it.
public struct ForeignOption: Sendable {
    /// The word after `--`.
    public let name: String
    /// Other words after `--` that mean the same.
    public let aliases: [String]
    /// The letter after `-`.
    public let short: Character?
    /// Whether a value follows.
    public let takesValue: Bool
    /// The values with which it asks for what is so anyway; nil for any value, and for a flag.
    public let fulfilled: [String]?
    /// What to do instead; nil where it asks for nothing that is not so anyway.
    public let instead: String?

    /// An option that asks for what is so anyway, or for nothing that matters here.
    public static func needless(
        _ name: String, aliases: [String] = [], short: Character? = nil, value: Bool = true
    ) -> ForeignOption {
        ForeignOption(
            name: name, aliases: aliases, short: short, takesValue: value, fulfilled: nil, instead: nil)
    }

    /// An option that is refused, but for values that ask for what is so anyway.
    public static func missing(
        _ name: String, aliases: [String] = [], short: Character? = nil, value: Bool = true,
        but fulfilled: [String] = [], _ instead: String
    ) -> ForeignOption {
        ForeignOption(
            name: name, aliases: aliases, short: short, takesValue: value, fulfilled: fulfilled,
            instead: instead)
    }

    /// Whether `word` is how it is called after `--`.
    func isCalled(_ word: String) -> Bool { name == word || aliases.contains(word) }

    /// Why the command line cannot be taken with this value; nil where it can.
    func objection(to value: String?) -> String? {
        guard let instead, value.map({ fulfilled?.contains($0) == true }) != true else { return nil }
        let given = value.map { takesValue ? " \($0)" : "" } ?? ""
        return "there is no --\(name)\(given) here: \(instead)"
    }
}
