import LinuxSystem
import Messages
import Testing

@testable import Telemetry

/// Progress is told of what takes long, and of nothing else.
struct LongOperationTests {
    private func events(_ telemetry: Telemetry, after last: UInt64) -> [Event] {
        let deadline = monotonicNanoseconds() + 30_000_000_000
        if case .events(let events) = telemetry.events.read(after: last, until: deadline) { return events }
        return []
    }

    @Test func aLongOneIsToldOfUntilItsEnd() throws {
        let telemetry = Telemetry()
        let start = telemetry.events.last
        let done = WorkCount()
        let work = telemetry.began("save", sandbox: "box")
        work.phase("memory", in: .bytes) { (done.value, 100) }
        done.add(40)
        let first = try #require(events(telemetry, after: start).first)
        #expect(first.kind == .progress && first.operation == "save" && first.sandbox == "box")
        let progress = try #require(first.progress)
        #expect(progress.phase == "memory" && progress.done == 40 && progress.total == 100)
        #expect(progress.elapsedMs >= Double(LongOperation.patience) / 1e6 && !progress.ended)
        done.add(80)
        let second = try #require(events(telemetry, after: first.id).first?.progress)
        #expect(second.done == 120 && second.total == 120, "an estimate is no limit")
        work.phase("publishing")
        work.end()
        var last = first.id
        var ends: [ProgressInfo] = []
        while telemetry.events.last > last {
            for event in events(telemetry, after: last) {
                last = event.id
                if let progress = event.progress, progress.ended { ends.append(progress) }
            }
        }
        #expect(ends.count == 1 && ends[0].phase == "publishing" && ends[0].task == progress.task)
    }

    @Test func aShortOneIsNotToldOf() {
        let telemetry = Telemetry()
        let start = telemetry.events.last
        for _ in 0..<100 { telemetry.began("save").end() }
        // Another one, after which the short ones would have been told of.
        let long = telemetry.began("verify")
        #expect(events(telemetry, after: start).first?.operation == "verify")
        long.end()
    }
}
