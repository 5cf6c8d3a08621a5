import Messages
import Telemetry

extension Router {
    /// What a server tells of itself.
    static let telemetry: [Route] = [
        metrics,
        .stream(
            "GET", "/v1/events", "watchEvents", query: ["since", "sandbox", "kind", "follow"],
            .events { (call) throws(ErrorMessage) in try EventReader(call) }),
    ]

    /// All that a port for Prometheus serves.
    static let metricsAlone = Router(routes: [metrics])

    private static let metrics = Route.stream(
        "GET", "/metrics", "getMetrics",
        .text(type: "text/plain; version=0.0.4; charset=utf-8") { (call) throws(ErrorMessage) in
            call.telemetry.metrics.exposition()
        })
}
