import Glibc

/// What a clock shows.
public struct ClockTime: Sendable, Comparable {
    public let seconds: Int64
    public let nanoseconds: Int64

    public init(seconds: Int64, nanoseconds: Int64) {
        (self.seconds, self.nanoseconds) = (seconds, nanoseconds)
    }

    init(_ time: timespec) { self.init(seconds: Int64(time.tv_sec), nanoseconds: Int64(time.tv_nsec)) }

    /// What the machine's CLOCK_REALTIME shows, as files are dated by it: a tick of the kernel behind.
    public static var now: ClockTime {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME_COARSE, &time)
        return ClockTime(time)
    }

    public static func < (one: ClockTime, other: ClockTime) -> Bool {
        (one.seconds, one.nanoseconds) < (other.seconds, other.nanoseconds)
    }
}
