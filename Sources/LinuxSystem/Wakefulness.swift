import Glibc

/// Keeps the processors from sleeping while somebody waits for short answers.
///
/// To wake a processor that sleeps takes some µs, in a virtual machine 50 and more, and a short command goes through three
/// processes. Who writes a latency into /dev/cpu_dma_latency has none sleep more deeply than that for as long as it is
/// open (Documentation/power/pm_qos_interface.rst); with its end, however that comes, all is as before. It is held for
/// `span` after each `stir`, so that a machine with nothing to do sleeps as ever.
public final class Wakefulness: Sendable {
    private struct State {
        /// By CLOCK_MONOTONIC, in nanoseconds.
        var until: UInt64 = 0
        var isHeld = false
    }

    /// In nanoseconds: who makes one call after the other comes back within it.
    private static let span: UInt64 = 20_000_000
    /// Where there are more processors, most of those that would stay awake are none that is waited for.
    private static let mostProcessors = 8
    /// The kernel's default (PM_QOS_CPU_LATENCY_DEFAULT_VALUE), in microseconds.
    private static let asEver: Int32 = 2_000_000_000

    private let device: Descriptor
    /// In microseconds.
    private let latency: Int32
    private let state = Monitor(State())

    /// For the rest of this process's life. Nil where it may not be or makes no difference; `wanted` 1 and 0, or
    /// CKPT_STAY_AWAKE of the environment, say so outright.
    public init?(wanted: String? = nil) {
        let wanted = wanted ?? getenv("CKPT_STAY_AWAKE").map { String(cString: $0) }
        let isSmall = sysconf(Int32(_SC_NPROCESSORS_ONLN)) <= Self.mostProcessors
        guard wanted == "1" || wanted != "0" && isSmall,
            let driver = try? Files.read("/sys/devices/system/cpu/cpuidle/current_driver"),
            let device = try? Descriptor.open("/dev/cpu_dma_latency", O_WRONLY)
        else { return nil }
        // A guest's processors have one kind of sleep; others have a light one, from which they are back in 2 µs.
        latency = String(decoding: driver, as: UTF8.self).hasPrefix("haltpoll") ? 0 : 2
        self.device = device
        startThread { while true { self.letSleep() } }
    }

    private func tell(_ latency: Int32) {
        withUnsafeBytes(of: latency) { _ = write(device.raw, $0.baseAddress, $0.count) }
    }

    /// Whether the processors are kept awake now.
    public var isHeld: Bool { state.with { $0.isHeld } }

    /// Somebody waits for an answer, or has just got one.
    public func stir() {
        let now = monotonicNanoseconds()
        let isHeld = state.with { state in
            state.until = now + Self.span
            return state.isHeld
        }
        if isHeld { return }
        state.with(wake: true) { state in
            if !state.isHeld { tell(latency) }
            state.isHeld = true
        }
    }

    private func letSleep() {
        let until = state.wait { $0.isHeld ? $0.until : nil } ?? 0
        let now = monotonicNanoseconds()
        if until > now {
            usleep(UInt32((until - now) / 1000) + 1)
            return
        }
        state.with { state in
            guard state.until <= now else { return }
            tell(Self.asEver)
            state.isHeld = false
        }
    }
}
