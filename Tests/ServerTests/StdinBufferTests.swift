import LinuxSystem
import Messages
import Testing

@testable import Client

struct StdinBufferTests {
    private let full = [UInt8](repeating: 7, count: ExecFrame.stdinWindow)

    private func drain(_ buffer: StdinBuffer) -> Int {
        var frames = 0
        while buffer.nextFrame() != nil { frames += 1 }
        return frames
    }

    /// Once a writer waited for ever when its connection broke with everything already arrived: no
    /// acknowledgement was left to come, and the new connection's offset woke nobody.
    @Test func aNewConnectionThatHasEverythingMakesRoom() throws {
        let buffer = StdinBuffer(interactive: true)
        #expect(buffer.append(full[...]) == full.count)
        #expect(drain(buffer) == 4)
        let taken = Monitor<Int??>(nil)
        startThread {
            let count = buffer.append([1, 2, 3])
            taken.with(wake: true) { $0 = .some(count) }
        }
        // Gives the thread time to wait; without the time the test proves less and does not fail.
        _ = taken.wait(until: monotonicNanoseconds() + 50_000_000) { $0 }
        #expect(try buffer.resume(at: UInt64(full.count)))
        let count = taken.wait(until: monotonicNanoseconds() + 20_000_000_000) { $0 }
        #expect(count == 3)
    }

    @Test func whatHasNotArrivedIsSentAgain() throws {
        let buffer = StdinBuffer(interactive: true)
        #expect(buffer.append([1, 2, 3, 4, 5]) == 5)
        buffer.close()
        #expect(drain(buffer) == 2)
        buffer.acknowledge(upTo: 2)
        #expect(try buffer.resume(at: 3))
        let frame = try #require(buffer.nextFrame())
        #expect(frame == ExecFrame.encode(ExecFrame.FromClient.stdin.rawValue, offset: 3, [4, 5]))
        #expect(buffer.nextFrame() == ExecFrame.encode(ExecFrame.FromClient.stdinEnd.rawValue, []))
        #expect(buffer.nextFrame() == nil)
    }

    @Test func aServerThatHasLessThanItAcknowledgedIsRefused() throws {
        let buffer = StdinBuffer(interactive: true)
        #expect(buffer.append([1, 2, 3]) == 3)
        buffer.acknowledge(upTo: 3)
        #expect(throws: ErrorMessage.self) { _ = try buffer.resume(at: 1) }
        #expect(throws: ErrorMessage.self) { _ = try buffer.resume(at: 4) }
    }

    @Test func theEndReleasesWhoWaits() {
        let buffer = StdinBuffer(interactive: true)
        _ = buffer.append(full[...])
        startThread { buffer.end() }
        #expect(buffer.append([1]) == nil)
        #expect(drain(buffer) == 0)
    }
}
