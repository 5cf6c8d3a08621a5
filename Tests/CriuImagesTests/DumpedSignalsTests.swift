import Glibc
import Testing

@testable import CriuImages

/// A siginfo_t: number, code, and of a timer its id.
private func signal(_ number: Int32, code: Int32, timer: Int32 = 0) -> [UInt8] {
    [number, 0, code, 0, timer, 0].flatMap { word in withUnsafeBytes(of: word) { Array($0) } }
        + [UInt8](repeating: 0, count: 104)
}

private func queue(_ signals: [[UInt8]]) -> [UInt8] { signals.flatMap { bytes(1, bytes(1, $0)) } }

private func posixTimer(_ id: UInt64, nanoseconds: UInt64, interval: UInt64 = 0) -> [UInt8] {
    let fields: [UInt64] = [id, 0, 0, 0, 0, 0, interval, 0, 0, nanoseconds]
    return bytes(4, fields.enumerated().flatMap { number(UInt64($0.offset) + 1, $0.element) })
}

private func itimer(_ microseconds: UInt64) -> [UInt8] {
    (1...4).flatMap { number($0, $0 == 4 ? microseconds : 0) }
}

/// core-PID.img, and the image of a thread that is not its process's first.
private func leader(shared: [[UInt8]], own: [[UInt8]] = [], alarm: UInt64, timers: [UInt8]) -> [UInt8] {
    let task =
        (1...5).flatMap { number($0, $0 == 1 ? 1 : 0) } + bytes(6, Array("sleeper".utf8))
        + bytes(7, bytes(1, itimer(alarm)) + bytes(2, itimer(0)) + bytes(3, itimer(0)) + timers)
        + bytes(10, queue(shared))
    return image([common, 0x5505_3847], [number(1, 1) + bytes(3, task) + bytes(5, threadCore(own))])
}

private func thread(_ own: [[UInt8]]) -> [UInt8] {
    image([common, 0x5505_3847], [number(1, 1) + bytes(5, threadCore(own))])
}

private func threadCore(_ own: [[UInt8]]) -> [UInt8] {
    number(1, 0) + number(2, 0) + bytes(9, queue(own))
}

private let alarm = signal(SIGALRM, code: 0x80)
private let first = signal(34, code: -2, timer: 0)
private let second = signal(34, code: -2, timer: 1)

private func waiting(_ signals: UInt64, _ count: Int) -> DumpedSignals.Queue {
    DumpedSignals.Queue(signals: signals, count: count)
}

@Suite struct DumpedSignalsTests {
    private func images(
        shared: [[UInt8]] = [], own: [[UInt8]] = [], alarm: UInt64 = 0, timers: [UInt8] = []
    ) throws -> Images {
        let process = number(1, 2) + number(2, 1) + number(3, 2) + number(4, 2) + number(5, 2) + number(5, 3)
        let one = number(1, 1) + number(2, 0) + number(3, 1) + number(4, 1) + number(5, 1)
        return try Images([
            "pstree.img": image([common, 0x5027_3030], [one, process]),
            "core-1.img": leader(shared: [], alarm: 0, timers: []),
            "core-2.img": leader(shared: shared, alarm: alarm, timers: timers), "core-3.img": thread(own),
        ])
    }

    @Test func whatWaitsIsRead() throws {
        let told = try images(shared: [alarm, first], own: [second], timers: posixTimer(0, nanoseconds: 1))
        #expect(
            try told.open().dumpedThreads().signals == [
                DumpedSignals(
                    process: 2, shared: waiting(1 << 13 | 1 << 33, 2),
                    threads: [(2, waiting(0, 0)), (3, waiting(1 << 33, 1))], hasTimers: true,
                    hasAlarm: false)
            ])
        let none = try images()
        #expect(
            try none.open().dumpedThreads().signals
                == [
                    DumpedSignals(
                        process: 2, shared: waiting(0, 0), threads: [2, 3].map { ($0, waiting(0, 0)) },
                        hasTimers: false, hasAlarm: false)
                ])
        let armed = try images(alarm: 1)
        #expect(try armed.open().dumpedThreads().signals.map(\.hasAlarm) == [true])
    }

    /// What came later is added, but not where its timer goes off once more.
    @Test func whatCameLaterIsAdded() throws {
        let timers = posixTimer(0, nanoseconds: 0) + posixTimer(1, nanoseconds: 5)
        let images = try images(shared: [first], alarm: 0, timers: timers)
        try images.open().add([
            LaterSignals(process: 2, thread: nil, signals: [alarm, first, second]),
            LaterSignals(process: 2, thread: 3, signals: [second, first]),
        ])
        #expect(
            try images.read("core-2.img") == leader(shared: [first, alarm, first], alarm: 0, timers: timers))
        #expect(try images.read("core-3.img") == thread([first]))
    }

    @Test func anAlarmWithTimeLeftComesByItself() throws {
        let images = try images(alarm: 7)
        let others = signal(SIGALRM, code: 0)
        try images.open().add([LaterSignals(process: 2, thread: nil, signals: [alarm, others])])
        #expect(try images.read("core-2.img") == leader(shared: [others], alarm: 7, timers: []))
    }

    /// One that went off before CRIU read it has most of its interval left, one that did afterwards has not.
    @Test func aPeriodicTimerLosesNoTick() throws {
        let timers =
            posixTimer(0, nanoseconds: 999_000_000, interval: 1) + posixTimer(1, nanoseconds: 5, interval: 1)
        let images = try images(timers: timers)
        try images.open().add([LaterSignals(process: 2, thread: nil, signals: [first, second])])
        #expect(try images.read("core-2.img") == leader(shared: [first], alarm: 0, timers: timers))
    }

    @Test func moreIsNoticed() {
        let (known, other) = (UInt64(1) << 39, UInt64(1) << 13)
        func told(hasTimers: Bool) -> DumpedSignals {
            DumpedSignals(
                process: 2, shared: waiting(0, 0), threads: [], hasTimers: hasTimers, hasAlarm: false)
        }
        #expect(!told(hasTimers: false).mayHaveGrown(waiting(0, 0), to: 0))
        #expect(!told(hasTimers: true).mayHaveGrown(waiting(0, 0), to: 0))
        #expect(!told(hasTimers: false).mayHaveGrown(waiting(known, 1), to: known))
        #expect(told(hasTimers: true).mayHaveGrown(waiting(known, 1), to: known))
        #expect(told(hasTimers: false).mayHaveGrown(waiting(known, 1), to: known | other))
    }

    /// The kernel's own words: of a blocked signal that this thread sent itself.
    @Test func statusIsRead() throws {
        var (set, before) = (sigset_t(), sigset_t())
        sigaddset(&set, 40)
        pthread_sigmask(SIG_BLOCK, &set, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        #expect(try #require(TaskStatus(of: gettid())).pending & 1 << 39 == 0)
        pthread_kill(pthread_self(), 40)
        let status = try #require(TaskStatus(of: gettid()))
        #expect(status.pending & 1 << 39 != 0 && status.hostID == gettid())
        var taken: Int32 = 0
        #expect(sigwait(&set, &taken) == 0 && taken == 40)
        #expect(TaskStatus(of: -1) == nil)
    }
}
