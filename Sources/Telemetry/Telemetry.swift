import LinuxSystem
public import Messages

/// What a server tells of itself: its log, its events and its numbers.
public final class Telemetry: Sendable {
    public let log: Log
    public let events = EventRing()
    public let metrics = Metrics()
    let underWay = Monitor(OperationsUnderWay())

    /// Events and numbers, and a log.
    public init(log: Log = .silent) { self.log = log }

    /// Tells readers of an event; `fill` adds what is known of it. What no request asked for is logged too.
    public func emit(_ kind: EventKind, _ fill: (inout Event) -> Void = { _ in }) {
        var event = Event(kind)
        fill(&event)
        metrics.event(kind)
        let told = events.append(event)
        if let level = kind.logLevel, log.writes(level) { log.write(LogLine(level, told)) }
    }
}

extension EventKind {
    /// How much it matters where no request tells of it; nil for what an operation's own line says.
    fileprivate var logLevel: LogLevel? {
        switch self {
        case .died, .oom, .crashed: .warning
        case .recovered, .compaction, .started, .stopping: .info
        default: nil
        }
    }
}

extension LogLine {
    fileprivate init(_ level: LogLevel, _ event: Event) {
        self.init(level, event.message ?? event.kind.rawValue)
        (operation, sandbox, snapshot) = (
            event.operation ?? event.kind.rawValue, event.sandbox, event.snapshot
        )
        (milliseconds, code, cause) = (event.durationMs, event.error?.code.rawValue, event.error?.cause)
    }
}
