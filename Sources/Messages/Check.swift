/// One thing that keeps a sandbox from being saved.
public struct SaveProblem: Codable, Hashable, Sendable {
    /// Which of docs/refusals.md it is.
    public var id: String
    /// The process's pid inside the sandbox, where it is one's.
    public var pid: Int32?
    /// The process's command.
    public var command: String?
    /// What is the matter, one sentence.
    public var message: String
    /// What to do about it.
    public var hint: String
    public init(id: String, pid: Int32?, command: String?, message: String, hint: String) {
        self.id = id
        self.pid = pid
        self.command = command
        self.message = message
        self.hint = hint
    }
}

/// The answer of `POST /v1/sandboxes/{name}/check`.
public struct CheckResult: Codable, Sendable {
    /// The sandbox's name.
    public var sandbox: String
    /// Whether nothing was found that keeps it from being saved now.
    public var savable: Bool
    public var problems: [SaveProblem]
    /// What a save would lose, one sentence each.
    public var warnings: [String]
    public init(sandbox: String, problems: [SaveProblem], warnings: [String] = []) {
        self.sandbox = sandbox
        savable = problems.isEmpty
        self.problems = problems
        self.warnings = warnings
    }
}
