/// A command line that cannot be meant so; ckpt exits with 2 and has done nothing.
public struct UsageError: Error, Equatable, Sendable {
    /// What is wrong, naming the word.
    public let message: String
    /// What may have been meant, and where to read on.
    public let hint: String

    /// A complaint about the words after `ckpt COMMAND`, or after `ckpt` when `command` is nil.
    public init(_ message: String, command: String?, suggestion: String? = nil) {
        self.message = message
        let help = command.map { "see 'ckpt \($0) --help'" } ?? "see 'ckpt help'"
        hint = suggestion.map { "did you mean \($0)? \(help)" } ?? help
    }
}
