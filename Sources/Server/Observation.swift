import LinuxSystem
import Messages
import Telemetry

/// One operation of the API under way, for the log and the numbers.
///
/// Commands' words, environments and output never get into either: of what runs in a sandbox an error's code is
/// noted and not its text.
struct Observation {
    private let operation: String
    private let sandbox: String?
    private let snapshot: String?
    private let start: UInt64
    private let level: LogLevel
    private let keepsText: Bool
    private let isTimed: Bool

    /// Operations that change nothing worth a line, or that come by the thousand.
    private static let quiet: Set = ["exec", "attach", "lendSession", "check", "hold", "getUsage"]
    /// Those whose errors may tell of commands.
    private static let discreet: Set = ["exec", "attach", "startJob"]
    /// Those that last as long as the client likes, which says nothing about the server.
    private static let waiting: Set = ["hold", "waitForSandbox", "getJob", "watchEvents"]

    init(_ route: Route, _ call: Call, since start: UInt64) {
        operation = route.operation
        sandbox = call.parameters["name"]
        snapshot = call.parameters["ref"]
        self.start = start
        level = route.method == "GET" || Self.quiet.contains(operation) ? .debug : .info
        keepsText = !Self.discreet.contains(operation)
        isTimed = !Self.waiting.contains(operation)
    }

    /// An operation that is no request and its answer.
    init(operation: String, sandbox: String) {
        self.operation = operation
        self.sandbox = sandbox
        (snapshot, start, level) = (nil, monotonicNanoseconds(), .debug)
        (keepsText, isTimed) = (!Self.discreet.contains(operation), true)
    }

    /// Notes its end; `answer` is what it gave, where that was a message.
    func end(_ telemetry: Telemetry, _ error: ErrorMessage? = nil, _ answer: (any Sendable)? = nil) {
        let seconds = Double(monotonicNanoseconds() - start) / 1e9
        telemetry.metrics.operation(operation, seconds: isTimed ? seconds : nil, error: error?.code)
        if let error, self.level == .info { tellFailure(telemetry, error, seconds) }
        let level = error.map(Self.level) ?? level
        guard telemetry.log.writes(level) else { return }
        var line = LogLine(level, error.map { keepsText ? $0.message : "failed" } ?? "ok")
        line.operation = operation
        let subject = (answer as? any Subject)?.subject
        (line.sandbox, line.snapshot) = (subject?.sandbox ?? sandbox, subject?.snapshot ?? snapshot)
        line.milliseconds = seconds * 1000
        line.code = error?.code.rawValue
        line.cause = keepsText ? error?.cause : nil
        telemetry.log.write(line)
    }

    /// Readers of events are told of operations that would have changed something.
    private func tellFailure(_ telemetry: Telemetry, _ error: ErrorMessage, _ seconds: Double) {
        telemetry.emit(.failed) { event in
            (event.operation, event.sandbox, event.snapshot) = (operation, sandbox, snapshot)
            event.durationMs = seconds * 1000
            event.error = keepsText ? error : ErrorMessage(error.code, "failed")
        }
    }

    private static func level(_ error: ErrorMessage) -> LogLevel {
        switch error.code {
        case .cancelled: .info
        case .internal, .noSpace, .notInstalled, .cannotRestore: .error
        default: .warning
        }
    }
}

/// An answer that says what it is about, where the request did not.
private protocol Subject: Sendable {
    var subject: (sandbox: String?, snapshot: String?) { get }
}

extension SandboxInfo: Subject {
    fileprivate var subject: (sandbox: String?, snapshot: String?) { (name, nil) }
}

extension SnapshotInfo: Subject {
    fileprivate var subject: (sandbox: String?, snapshot: String?) { (nil, id) }
}

extension RestoreResult: Subject {
    fileprivate var subject: (sandbox: String?, snapshot: String?) { (sandbox.name, snapshot) }
}

extension ForkResult: Subject {
    fileprivate var subject: (sandbox: String?, snapshot: String?) {
        (sandboxes.map(\.name).joined(separator: ","), snapshot)
    }
}

extension DebugSession: Subject {
    fileprivate var subject: (sandbox: String?, snapshot: String?) { (sandbox, snapshot) }
}

extension DeleteResult: Subject {
    fileprivate var subject: (sandbox: String?, snapshot: String?) {
        (nil, deleted.joined(separator: ","))
    }
}
