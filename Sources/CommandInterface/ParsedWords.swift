/// A command line that has been understood.
public struct ParsedWords: Sendable {
    /// The command it names.
    public let command: CommandDescription
    /// Whether help was asked for; nothing else has been checked then.
    public internal(set) var wantsHelp = false
    var values: [String: [String]] = [:]
    var flags: Set<String> = []
    var operands: [String: [String]] = [:]

    init(command: CommandDescription) { self.command = command }

    /// Whether a flag was given.
    public func has(_ flag: String) -> Bool {
        expectOption(flag)
        return flags.contains(flag)
    }

    /// The value of an option, the last one given.
    public func value(_ option: String) -> String? {
        expectOption(option)
        return values[option]?.last
    }

    /// The value of an option of kind `span`, in seconds.
    public func span(_ option: String) -> Double? { value(option).flatMap { spanSeconds($0) } }

    /// All values of an option that repeats, in order.
    public func values(_ option: String) -> [String] {
        expectOption(option)
        return values[option] ?? []
    }

    /// The value of an option of kind `number`.
    public func number(_ option: String) -> Int? { value(option).flatMap { Int($0) } }

    /// The value of an option of kind `seconds`.
    public func seconds(_ option: String) -> Double? { value(option).flatMap { Double($0) } }

    /// The word of an operand that is always there.
    public func operand(_ name: String) -> String { operands(name)[0] }

    /// The word of an operand that may be missing.
    public func optionalOperand(_ name: String) -> String? { operands(name).first }

    /// The words of an operand that takes several.
    public func operands(_ name: String) -> [String] {
        precondition(command.operands.contains { $0.name == name }, "\(command.name) has no operand \(name)")
        return operands[name] ?? []
    }

    private func expectOption(_ name: String) {
        precondition(command.allOptions.contains { $0.name == name }, "\(command.name) has no option \(name)")
    }
}
