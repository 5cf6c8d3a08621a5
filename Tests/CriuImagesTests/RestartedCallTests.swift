import Glibc
import Testing

@testable import CriuImages

/// A process that is about to begin a call: what its image says beside.
private struct Broken {
    var call: UInt64 = 34
    /// rcx: where the `syscall` instruction ends, which is at 1000.
    var after: UInt64 = 1002
    var alarm: UInt64 = 0
    var waits = false
    var blocked: UInt64 = 0
    var flags: UInt64 = 0
    var handler: UInt64 = 0x4000

    func image(ax: UInt64? = nil, ip: UInt64 = 1000) -> [UInt8] {
        var registers = [UInt64](repeating: 0, count: 27)
        (registers[10], registers[11], registers[15], registers[16], registers[17]) =
            (ax ?? call, after, call, ip, 0x33)
        let general = registers.enumerated().flatMap { number(UInt64($0.offset) + 1, $0.element) }
        let actions = (1...62).flatMap { index in
            // SIGKILL, 9, has none.
            bytes(
                15,
                number(1, index == Int(SIGALRM) - 1 ? handler : 0) + number(2, flags) + number(3, 0)
                    + number(4, 0))
        }
        let signal = [UInt8(SIGALRM), 0, 0, 0] + [UInt8](repeating: 0, count: 124)
        let timers = (1...3).flatMap { which in
            bytes(which, (1...4).flatMap { number($0, $0 == 4 && which == 1 ? alarm : 0) })
        }
        let task =
            number(1, 1) + number(2, 0) + number(3, 0) + number(4, 0) + number(5, blocked)
            + bytes(6, Array("waiter".utf8)) + bytes(7, timers)
            + bytes(10, waits ? bytes(1, bytes(1, signal)) : []) + actions
        let vectors = (1...8).flatMap { number($0, 0) }
        let machine = number(1, 0) + bytes(2, general) + bytes(3, vectors)
        return CriuImagesTests.image(
            [common, 0x5505_3847], [number(1, 1) + bytes(2, machine) + bytes(3, task)])
    }

    func images() throws -> Images {
        let process = number(1, 2) + number(2, 1) + number(3, 2) + number(4, 2) + number(5, 2)
        let one = number(1, 1) + number(2, 0) + number(3, 1) + number(4, 1) + number(5, 1)
        return try Images([
            "pstree.img": CriuImagesTests.image([common, 0x5027_3030], [one, process]),
            "core-1.img": image(), "core-2.img": image(),
        ])
    }

    /// Whether the call is found, and is one that a waiting signal ends.
    func ends() throws -> Bool? {
        let images = try images()
        let found = try images.open().dumpedThreads().restarted
        #expect(found.allSatisfy { $0.process == 2 && $0.instruction == 1002 && $0.number == call })
        return found.first?.ends
    }
}

@Suite struct RestartedCallTests {
    @Test func aWaitingSignalEndsWhatItsHandlerEnds() throws {
        let (pause, wait4, fork): (UInt64, UInt64, UInt64) = (34, 61, 57)
        let restarting = UInt64(SA_RESTART)
        #expect(try Broken(call: pause).ends() == false)
        #expect(try Broken(call: pause, waits: true).ends() == true)
        #expect(try Broken(call: pause, waits: true, flags: restarting).ends() == true)
        #expect(try Broken(call: wait4, waits: true).ends() == true)
        #expect(try Broken(call: wait4, waits: true, flags: restarting).ends() == false)
        #expect(try Broken(call: pause, waits: true, blocked: 1 << 13).ends() == false)
        #expect(try Broken(call: pause, waits: true, handler: 1).ends() == false)
        #expect(try Broken(call: fork, waits: true).ends() == nil)
        // It has ended, with its own number as its result.
        #expect(try Broken(call: 1, after: 1000, waits: true).ends() == nil)
    }

    @Test func whatEndsHasItsResult() throws {
        let broken = Broken(waits: true)
        let images = try broken.images()
        try images.open().end(try images.open().dumpedThreads().restarted)
        #expect(
            try images.read("core-2.img")
                == broken.image(ax: UInt64(bitPattern: Int64(-EINTR)), ip: 1002))
        #expect(try images.read("core-1.img") == broken.image())
    }

    @Test func callsOfProcessesWithTimersAreFound() throws {
        let timed = try Broken(alarm: 1).images()
        #expect(try timed.open().timedCalls().map(\.thread) == [2])
        let others = try Broken(waits: true).images()
        #expect(try others.open().timedCalls().isEmpty)
    }
}
