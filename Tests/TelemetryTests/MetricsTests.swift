import LinuxSystem
import Messages
import MetricsText
import Testing

@testable import Telemetry

/// What is counted, and whether the text is what Prometheus reads.
struct MetricsTests {
    @Test func operationsErrorsAndEventsAreCounted() throws {
        let telemetry = Telemetry()
        let metrics = telemetry.metrics
        metrics.operation("save", seconds: 0.008)
        metrics.operation("save", seconds: 0.0001)
        metrics.operation("save", seconds: 100, error: .noSpace)
        metrics.operation("hold", seconds: nil)
        metrics.refused(.notPermitted)
        metrics.froze(seconds: 0.005)
        telemetry.emit(.oom)
        let numbers = try Exposition(metrics.exposition())
        #expect(numbers["ckpt_operations_total", ["operation": "save", "result": "ok"]] == 2)
        #expect(numbers["ckpt_operations_total", ["operation": "save", "result": "no_space"]] == 1)
        #expect(numbers["ckpt_operations_total", ["operation": "hold", "result": "ok"]] == 1)
        #expect(numbers["ckpt_errors_total", ["code": "no_space"]] == 1)
        #expect(numbers["ckpt_errors_total", ["code": "internal"]] == 0)
        #expect(numbers["ckpt_refused_requests_total", ["code": "not_permitted"]] == 1)
        #expect(numbers["ckpt_errors_total", ["code": "not_permitted"]] == 0)
        #expect(numbers["ckpt_events_total", ["kind": "oom"]] == 1)
        let save = ["operation": "save"]
        #expect(numbers["ckpt_operation_duration_seconds_count", save] == 3)
        #expect(
            numbers["ckpt_operation_duration_seconds_bucket", ["operation": "save", "le": "0.0001"]] == 1)
        #expect(numbers["ckpt_operation_duration_seconds_bucket", ["operation": "save", "le": "0.01"]] == 2)
        #expect(numbers["ckpt_operation_duration_seconds_bucket", ["operation": "save", "le": "60.0"]] == 2)
        #expect(numbers["ckpt_operation_duration_seconds_count", ["operation": "hold"]] == nil)
        #expect(numbers["ckpt_save_frozen_seconds_count", [:]] == 1)
        #expect(numbers["process_open_fds", [:]]! > 2 && numbers["process_threads", [:]]! >= 1)
        #expect(numbers["process_resident_memory_bytes", [:]]! > 1_000_000)
        let age = realtimeSeconds() - numbers["process_start_time_seconds", [:]]!
        #expect(age > -5 && age < 86_400 * 7, "started \(age) s ago")
        for _ in 1...20 {
            let again = try Exposition(metrics.exposition())
            #expect(
                again["process_start_time_seconds", [:]] == numbers["process_start_time_seconds", [:]],
                "another start would be another server")
        }
    }

    @Test func whatIsProvidedIsAskedEveryTimeAndEscaped() throws {
        let metrics = Metrics()
        let asked = Monitor(0.0)
        @Sendable func next() -> Double {
            asked.with { (count) -> Double in
                count += 1
                return count
            }
        }
        metrics.provide {
            [
                MetricFamily(
                    "x_y", .gauge, "A \\ and\na \"line\".",
                    [
                        MetricSample(
                            [("name", "a\\b\"c\nd")],
                            next()), MetricSample([], -1.5),
                    ])
            ]
        }
        _ = metrics.exposition()
        let text = metrics.exposition()
        #expect(text.contains("# HELP x_y A \\\\ and\\na \"line\".\n"))
        let numbers = try Exposition(text)
        #expect(numbers["x_y", ["name": "a\\b\"c\nd"]] == 2)
        #expect(numbers["x_y", [:]] == -1.5)
    }

    @Test(arguments: [
        "x 1", "x 1\n", "# TYPE x counter\n# HELP x y\nx 1\n", "# HELP x y\n# TYPE x sideways\nx 1\n",
        "# HELP x y\n# TYPE x counter\nx{a=b} 1\n", "# HELP x y\n# TYPE x counter\nx one\n",
        "# HELP x y\n# TYPE x counter\nx_total 1\n", "# HELP x y\n# TYPE x_total counter\n",
        "# HELP x_total y\n# TYPE x_total counter\nx_total 1\nx_total 2\n",
        "# HELP h y\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
        "# HELP h y\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n",
        "# HELP h y\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 2\n",
    ])
    func theReaderIsStrict(_ text: String) {
        #expect(throws: Exposition.Fault.self) { _ = try Exposition(text) }
    }
}
