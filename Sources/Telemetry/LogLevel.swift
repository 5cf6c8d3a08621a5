/// How much a line of the log matters.
public enum LogLevel: String, Comparable, Sendable, CaseIterable {
    case debug, info, warning, error

    /// The priority of syslog(3), which the journal uses too.
    var priority: Int {
        switch self {
        case .debug: 7
        case .info: 6
        case .warning: 4
        case .error: 3
        }
    }

    public static func < (left: LogLevel, right: LogLevel) -> Bool { left.priority > right.priority }
}

/// How lines are written where no journal takes them apart.
public enum LogFormat: String, Sendable, CaseIterable {
    /// `time=… level=info operation=save sandbox=main ms=8.1 msg="…"`, a line each.
    case text
    /// The same fields as a JSON object, a line each.
    case json
}

/// One line of the log: what happened, and what programs may look for.
public struct LogLine: Sendable {
    public var level: LogLevel
    /// For people, without a full stop.
    public var message: String
    /// API name of the operation, sandbox and snapshot it is about.
    public var operation: String?
    public var sandbox: String?
    public var snapshot: String?
    /// How long the operation took.
    public var milliseconds: Double?
    /// The code of the error it ended with.
    public var code: String?
    /// What was underneath an error.
    public var cause: String?

    /// A line of just a message.
    public init(_ level: LogLevel, _ message: String) {
        self.level = level
        self.message = message
    }

    /// The fields that have a value, in the order they are written.
    var fields: [(name: String, value: String)] {
        let all: [(String, String?)] = [
            ("operation", operation), ("sandbox", sandbox), ("snapshot", snapshot),
            ("ms", milliseconds.map { decimal($0) }), ("code", code), ("cause", cause),
        ]
        return all.compactMap { name, value in value.map { (name, $0) } }
    }
}

/// A number of milliseconds with three digits after the point.
func decimal(_ value: Double) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
    let thousandths = Int64((value * 1000).rounded())
    let digits = String(abs(thousandths) % 1000 + 1000).dropFirst()
    return "\(thousandths < 0 ? "-" : "")\(abs(thousandths) / 1000).\(digits)"
}
