import Glibc
import LinuxSystem
import Testing

@Suite struct EagerWaitingTests {
    @Test func seesBytesAndEnds() throws {
        var ends: [Int32] = [-1, -1]
        try #require(pipe2(&ends, O_CLOEXEC) == 0)
        let reading = Descriptor(owning: ends[0])
        var writing: Descriptor? = Descriptor(owning: ends[1])
        #expect(!lookOut(for: reading.raw, during: 100_000))
        try writing!.writeAll([1])
        #expect(lookOut(for: reading.raw))
        #expect(try reading.read(upTo: 2) == [1])
        #expect(!lookOut(for: reading.raw, during: 100_000))
        writing = nil
        #expect(lookOut(for: reading.raw))
        #expect(lookOut(for: reading.raw, during: 0))
    }
}
