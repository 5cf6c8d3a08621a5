import Glibc
import LinuxSystem
import Testing

@Suite struct WakefulnessTests {
    private static let device = "/dev/cpu_dma_latency"

    /// What the processors may take to wake up, of all who have asked for a bound, in microseconds.
    private func latency() throws -> Int32 {
        let bytes = try Files.read(Self.device)
        try #require(bytes.count == 4)
        return bytes.withUnsafeBytes { $0.loadUnaligned(as: Int32.self) }
    }

    @Test func processorsStayAwakeForAWhile() throws {
        guard let wakefulness = Wakefulness(wanted: "1") else {
            let driver = try? Files.read("/sys/devices/system/cpu/cpuidle/current_driver")
            #expect(access(Self.device, W_OK) != 0 || driver == nil, "it may be held and is not")
            return
        }
        #expect(!wakefulness.isHeld)
        for _ in 0..<3 {
            wakefulness.stir()
            let now = try latency()
            // Unless this thread was kept from running for longer than it is held.
            #expect(now <= 2 || !wakefulness.isHeld)
            let patience = monotonicNanoseconds() + 30_000_000_000
            while wakefulness.isHeld, monotonicNanoseconds() < patience { usleep(1000) }
            #expect(!wakefulness.isHeld, "they never sleep again")
        }
    }

    @Test func itCanBeForbidden() { #expect(Wakefulness(wanted: "0") == nil) }
}
