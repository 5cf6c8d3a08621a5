import Glibc
import LinuxSystem
import Testing

@testable import CriuImages

private let due: UInt64 = 7
private let running: UInt64 = 8
private let own: UInt64 = 9
private let tableNumber: UInt64 = 5

private func timer(_ id: UInt64, ticks: UInt64, left: UInt64, interval: UInt64) -> [UInt8] {
    let owner = (1...5).flatMap { number($0, 0) }
    let entry =
        number(1, id) + number(2, 2) + bytes(3, owner) + number(4, 1) + number(5, ticks) + number(6, 0)
        + number(7, 0) + number(8, left) + number(9, 0) + number(10, interval)
    return number(1, 17) + number(2, id) + bytes(12, entry)
}

private func files(_ timers: [[UInt8]]) -> [UInt8] { image([common, 0x5630_3138], timers) }

/// PID 1 with a timer of its own, and two processes with one table of descriptors.
private func images(_ timers: [[UInt8]]) throws -> Images {
    let task = (1...5).flatMap { number($0, $0 == 1 ? 1 : 0) } + bytes(6, Array("sleeper".utf8))
    let core = image([common, 0x5505_3847], [number(1, 1) + bytes(3, task)])
    func ids(_ table: UInt64) -> [UInt8] {
        image([common, 0x5443_2030], [(1...12).flatMap { number($0, $0 == 2 ? table : 1) }])
    }
    func process(_ pid: UInt64, _ parent: UInt64) -> [UInt8] {
        number(1, pid) + number(2, parent) + number(3, pid) + number(4, pid) + number(5, pid)
    }
    func descriptor(_ descriptor: UInt64, of file: UInt64) -> [UInt8] {
        number(1, file) + number(2, 0) + number(3, 17) + number(4, descriptor)
    }
    return try Images([
        "files.img": files(timers), "core-1.img": core, "core-2.img": core, "core-3.img": core,
        "pstree.img": image([common, 0x5027_3030], [process(1, 0), process(2, 1), process(3, 2)]),
        "ids-1.img": ids(1), "ids-2.img": ids(tableNumber), "ids-3.img": ids(tableNumber),
        "fdinfo-1.img": image([common, 0x5621_3732], [descriptor(3, of: own)]),
        "fdinfo-\(tableNumber).img": image(
            [common, 0x5621_3732],
            [descriptor(3, of: running), descriptor(4, of: due), descriptor(5, of: due)]),
    ])
}

private func filesWithMore(_ images: Images) throws -> [FileWithMore] {
    let directory = try images.open()
    return try directory.filesWithMore(of: directory.processes())
}

@Suite struct FilesWithMoreTests {
    /// What was just due is found once, and fires after a restore; one that nobody has set stays so.
    @Test(arguments: [0, 250_000_000] as [UInt64]) func whatWasJustDueHasFired(interval: UInt64) throws {
        let other = timer(running, ticks: 0, left: 1000, interval: 0)
        let ofPID1 = timer(own, ticks: 0, left: 0, interval: 0)
        let images = try images([timer(due, ticks: 0, left: 0, interval: interval), other, ofPID1])
        let found = try filesWithMore(images)
        #expect(
            found == [FileWithMore(kind: .timerWithoutTime, file: UInt32(due), process: 2, descriptor: 4)])
        let before = try images.read("files.img")
        try images.open().keepTimersGoing(fired: [UInt32(due): 0])
        #expect(try images.read("files.img") == before)
        // Another timer's count is nobody's business.
        try images.open().keepTimersGoing(fired: [UInt32(running): 1])
        #expect(try images.read("files.img") == before)
        try images.open().keepTimersGoing(fired: [UInt32(due): 3])
        // A periodic one is wound up again, for one interval.
        let after = timer(due, ticks: 3, left: interval, interval: interval)
        #expect(try images.read("files.img") == files([after, other, ofPID1]))
    }

    @Test func nothingToFindOut() throws {
        let images = try images([
            timer(due, ticks: 1, left: 0, interval: 0), timer(running, ticks: 0, left: 1, interval: 0),
        ])
        #expect(try filesWithMore(images) == [])
    }

    /// Sockets and counters are told whatever they hold.
    @Test func socketsAndCountersAreFound() throws {
        let owner = (1...5).flatMap { number($0, 0) }
        let counter =
            number(1, 6) + number(2, due)
            + bytes(8, number(1, due) + number(2, 2) + bytes(3, owner) + number(4, 1 << 40))
        let images = try images([timer(running, ticks: 1, left: 0, interval: 0), counter])
        #expect(
            try filesWithMore(images)
                == [FileWithMore(kind: .eventCounter(1 << 40), file: UInt32(due), process: 2, descriptor: 4)])
    }

    /// The kernel's own words, of a real timer.
    @Test func expirationsAreRead() throws {
        typealias Create = @convention(c) (Int32, Int32) -> Int32
        typealias SetTime =
            @convention(c) (Int32, Int32, UnsafePointer<itimerspec>, UnsafeMutablePointer<itimerspec>?) ->
            Int32
        let create = unsafeBitCast(try #require(dlsym(nil, "timerfd_create")), to: Create.self)
        let setTime = unsafeBitCast(try #require(dlsym(nil, "timerfd_settime")), to: SetTime.self)
        let raw = create(CLOCK_MONOTONIC, Int32(O_CLOEXEC))
        try #require(raw >= 0)
        let descriptor = Descriptor(owning: raw)
        let timer = FileWithMore(kind: .timerWithoutTime, file: 1, process: 2, descriptor: descriptor.raw)
        #expect(timer.expirations(in: getpid()) == 0)
        var soon = itimerspec()
        soon.it_value.tv_nsec = 1
        #expect(setTime(descriptor.raw, 0, &soon, nil) == 0)
        var poll = pollfd(fd: descriptor.raw, events: Int16(POLLIN), revents: 0)
        #expect(Glibc.poll(&poll, 1, 10_000) == 1)
        #expect(timer.expirations(in: getpid()) == 1)
        #expect(
            FileWithMore(kind: .socket, file: 1, process: 2, descriptor: -2).expirations(in: getpid()) == 0)
    }
}
