import LinuxSystem
import Messages

/// Threads that do the same for a while, each over a connection of its own.
struct Crew {
    private struct State {
        var ready = 0
        var begins = false
        var ends: UInt64 = 0
        var done: [Int] = []
        var failure: ErrorMessage?
    }

    let root: String
    let count: Int
    let seconds: Double

    /// Has `begin` make each worker's work, runs that over and over, and returns how often it was done in a second by
    /// all together.
    func cyclesPerSecond(
        _ begin:
            @escaping @Sendable (Int, TightConnection) throws(ErrorMessage) -> () throws(ErrorMessage) -> Void
    ) throws(ErrorMessage) -> Double {
        let monitor = Monitor(State())
        let root = root
        for number in 0..<count {
            startThread {
                var cycles = 0
                do throws(ErrorMessage) {
                    let work = try begin(number, try TightConnection(root: root))
                    monitor.with(wake: true) { $0.ready += 1 }
                    let until = monitor.wait { $0.begins ? $0.ends : nil }!
                    while monotonicNanoseconds() < until {
                        try work()
                        cycles += 1
                    }
                } catch {
                    monitor.with(wake: true) { $0.failure = error }
                }
                monitor.with(wake: true) { $0.done.append(cycles) }
            }
        }
        _ = monitor.wait { $0.ready + $0.done.count >= count ? true : nil }
        let began = monotonicNanoseconds()
        monitor.with(wake: true) { state in
            state.ends = began + UInt64(seconds * 1e9)
            state.begins = true
        }
        let (cycles, failure) = monitor.wait {
            $0.done.count == count ? ($0.done.reduce(0, +), $0.failure) : nil
        }!
        if let failure { throw failure }
        return Double(cycles) / (Double(monotonicNanoseconds() - began) / 1e9)
    }
}
