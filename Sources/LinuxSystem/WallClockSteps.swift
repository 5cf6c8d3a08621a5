import CLinux
import Glibc

/// Counts how often the wall clock was set, by whomever; a machine that wakes up sets it too.
///
/// To slew the clock, as NTP does, is not to set it: no time comes twice then.
public final class WallClockSteps: Sendable {
    /// The process's own; its descriptor stays open.
    public static let shared = WallClockSteps()

    private let state = Monitor((watch: Int32(-1), count: 0))

    /// How often the clock was set since this was first asked; each time another number where the kernel cannot tell.
    public func count() -> Int {
        state.with { state in
            if state.watch < 0 { state.watch = clinux_clock_watch() }
            if state.watch < 0 || clinux_clock_was_set(state.watch) != 0 { state.count += 1 }
            return state.count
        }
    }
}
