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
        #expect(!lookOut(for: reading.raw, during: 0), "no time at all")
    }

    /// Whoever is to answer may be on the same processor.
    @Test func letsOthersRun() throws {
        var ends: [Int32] = [-1, -1]
        try #require(pipe2(&ends, O_CLOEXEC) == 0)
        let (reading, writing) = (ends[0], ends[1])
        defer { for end in ends { close(end) } }
        var (before, one) = (cpu_set_t(), cpu_set_t())
        try #require(sched_getaffinity(0, MemoryLayout<cpu_set_t>.size, &before) == 0)
        withUnsafeMutableBytes(of: &one) { words in
            let own = Int(sched_getcpu())
            words[own / 8] = 1 << UInt8(own % 8)
        }
        try #require(sched_setaffinity(0, MemoryLayout<cpu_set_t>.size, &one) == 0)
        defer { sched_setaffinity(0, MemoryLayout<cpu_set_t>.size, &before) }
        // A thread has the processors of the one that started it.
        startThread { _ = write(writing, "x", 1) }
        #expect(lookOut(for: reading, during: 10_000_000_000))
    }
}
