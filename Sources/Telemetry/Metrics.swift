import Glibc
import LinuxSystem
public import Messages

/// What the server counts, for `GET /metrics`.
///
/// Counting is some tens of nanoseconds under one lock; names, labels and text are made when somebody looks.
public final class Metrics: Sendable {
    private struct State {
        /// By operation, then by result: `ok` or the code of an error.
        var results: [String: [String: UInt64]] = [:]
        var latencies: [String: Histogram] = [:]
        var errors: [ErrorMessage.Code: UInt64] = [:]
        var refusals: [ErrorMessage.Code: UInt64] = [:]
        var frozen = Histogram()
        var events: [EventKind: UInt64] = [:]
        var providers: [@Sendable () -> [MetricFamily]] = []
    }
    private let state = Monitor(State())
    private let started = monotonicNanoseconds()

    /// Nothing counted yet.
    public init() {}

    /// An operation ended, well or with an error; without `seconds` it is only counted.
    public func operation(_ name: String, seconds: Double?, error: ErrorMessage.Code? = nil) {
        state.with { state in
            state.results[name, default: [:]][error?.rawValue ?? "ok", default: 0] += 1
            if let seconds { state.latencies[name, default: Histogram()].observe(seconds) }
            if let error { state.errors[error, default: 0] += 1 }
        }
    }

    /// A request was turned away before it was an operation: from somebody who is not admitted, one too many, no request
    /// that the API knows.
    public func refused(_ code: ErrorMessage.Code) { state.with { $0.refusals[code, default: 0] += 1 } }

    /// A save let its sandbox stand still for so long.
    public func froze(seconds: Double) { state.with { $0.frozen.observe(seconds) } }

    /// An event was told.
    public func event(_ kind: EventKind) { state.with { $0.events[kind, default: 0] += 1 } }

    /// Adds what is looked up whenever somebody asks; called on the asker's thread.
    public func provide(_ provider: @escaping @Sendable () -> [MetricFamily]) {
        state.with { $0.providers.append(provider) }
    }

    /// Everything, as text in Prometheus's format 0.0.4.
    public func exposition() -> String {
        let (state, providers) = state.with { ($0, $0.providers) }
        var families = [Self.build, Self.uptime(since: started)]
        families += Self.operations(state.results, state.latencies)
        families.append(
            MetricFamily(
                "ckpt_errors_total", .counter, "Operations that failed, by the code of the error.",
                ErrorMessage.Code.allCases.map { code in
                    MetricSample([("code", code.rawValue)], Double(state.errors[code] ?? 0))
                }))
        families.append(
            MetricFamily(
                "ckpt_refused_requests_total", .counter,
                "Requests that were turned away before they were an operation, by the code of the error.",
                ErrorMessage.Code.allCases.compactMap { code in
                    state.refusals[code].map { MetricSample([("code", code.rawValue)], Double($0)) }
                }))
        families.append(
            MetricFamily(
                "ckpt_save_frozen_seconds", .histogram,
                "How long sandboxes stood still in saves.", [MetricSample([], state.frozen)]))
        families.append(
            MetricFamily(
                "ckpt_events_total", .counter, "Events that were told, by kind.",
                EventKind.allCases.filter { $0 != .missed }.map { kind in
                    MetricSample([("kind", kind.rawValue)], Double(state.events[kind] ?? 0))
                }))
        for provider in providers { families += provider() }
        families += ProcessMetrics.families()
        return families.map(\.text).joined()
    }

    private static func operations(
        _ results: [String: [String: UInt64]], _ latencies: [String: Histogram]
    ) -> [MetricFamily] {
        let counts = results.keys.sorted().flatMap { operation in
            results[operation]!.sorted { $0.key < $1.key }.map { result, count in
                MetricSample([("operation", operation), ("result", result)], Double(count))
            }
        }
        let times = latencies.sorted { $0.key < $1.key }.map { operation, histogram in
            MetricSample([("operation", operation)], histogram)
        }
        return [
            MetricFamily(
                "ckpt_operations_total", .counter,
                "Operations of the API that ended, by their result: ok or the code of an error.", counts),
            MetricFamily(
                "ckpt_operation_duration_seconds", .histogram,
                "How long operations took, from the request's arrival to its answer.", times),
        ]
    }

    private static var build: MetricFamily {
        MetricFamily(
            "ckpt_build_info", .gauge, "Versions of ckpt, of its API and of the store's format.",
            [
                MetricSample(
                    [
                        ("version", Product.version), ("api", Product.api),
                        ("format", "\(Product.storeFormat)"),
                    ], 1)
            ])
    }

    private static func uptime(since started: UInt64) -> MetricFamily {
        MetricFamily(
            "ckpt_uptime_seconds", .gauge, "How long this server has been running.",
            [MetricSample([], Double(monotonicNanoseconds() - started) / 1e9)])
    }
}
