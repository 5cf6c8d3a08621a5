import LinuxSystem
import Messages
import Testing

@testable import Telemetry

/// Events in order, for readers of any speed.
struct EventRingTests {
    private func ids(_ reading: EventRing.Reading) -> [UInt64] {
        if case .events(let events) = reading { events.map(\.id) } else { [] }
    }

    private var now: UInt64 { monotonicNanoseconds() }

    @Test func numbersGrowAndNothingIsMissed() {
        let ring = EventRing(first: 1000)
        #expect(ring.last == 999)
        for _ in 0..<600 { ring.append(Event(.saved)) }
        var last: UInt64 = 999
        var seen: [UInt64] = []
        while case .events(let events) = ring.read(after: last, until: now) {
            seen += events.map(\.id)
            last = events.last!.id
        }
        #expect(seen == Array(1000..<1600))
        guard case .nothing = ring.read(after: 1599, until: now + 1_000_000) else {
            Issue.record("there is nothing more")
            return
        }
    }

    @Test func numbersFitADoubleAndALaterServerGoesOnAbove() {
        let ring = EventRing()
        let event = ring.append(Event(.created))
        #expect(event.id < 1 << 53)
        #expect(abs(event.time - realtimeSeconds()) < 60)
        #expect(EventRing().append(Event(.created)).id >= event.id)
    }

    @Test func whoFellBehindIsToldHowMuch() {
        let ring = EventRing(first: 1)
        let all = UInt64(EventRing.capacity) + 10
        for _ in 0..<all { ring.append(Event(.saved)) }
        guard case .missed(let count, let next) = ring.read(after: 3, until: now) else {
            Issue.record("events 4 to 10 are gone")
            return
        }
        #expect(count == 7 && next == 10)
        #expect(ids(ring.read(after: next, until: now)).first == 11)
        #expect(ids(ring.read(after: 10, until: now)).first == 11)
    }

    /// Of another server, or of a clock that went back.
    @Test(arguments: [UInt64(5), 5000, .max])
    func aForeignNumberIsAnsweredWithAll(_ since: UInt64) {
        let ring = EventRing(first: 1000)
        for _ in 0..<3 { ring.append(Event(.saved)) }
        guard case .missed(nil, let next) = ring.read(after: since, until: now) else {
            Issue.record("\(since) was never given")
            return
        }
        #expect(ids(ring.read(after: next, until: now)) == [1000, 1001, 1002])
    }

    @Test func aWaitingReaderIsWokenAndAClosedRingEndsIt() {
        let ring = EventRing(first: 1)
        let got = Monitor<[UInt64]>([])
        let isDone = Monitor(false)
        startThread {
            var last: UInt64 = 0
            reading: while true {
                switch ring.read(after: last, until: monotonicNanoseconds() + 60_000_000_000) {
                case .events(let events):
                    last = events.last!.id
                    got.with(wake: true) { $0 += events.map(\.id) }
                case .closed: break reading
                default: Issue.record("nothing happened")
                }
            }
            isDone.with(wake: true) { $0 = true }
        }
        ring.append(Event(.saved))
        got.wait { $0 == [1] ? () : nil }
        ring.append(Event(.saved))
        ring.close()
        isDone.wait { $0 ? () : nil }
        #expect(got.with { $0 } == [1, 2], "what was told before the end is read")
    }

    @Test func filters() {
        var saved = Event(.saved)
        saved.sandbox = "main"
        var forked = Event(.forked)
        forked.names = ["try-1", "try-2"]
        #expect(EventFilter().admits(saved) && EventFilter(sandbox: "main").admits(saved))
        #expect(!EventFilter(sandbox: "other").admits(saved))
        #expect(EventFilter(sandbox: "try-2").admits(forked))
        #expect(!EventFilter(sandbox: "main", kinds: [.oom]).admits(saved))
        #expect(EventFilter(sandbox: "main", kinds: [.oom]).admits(Event(.missed)))
    }
}
