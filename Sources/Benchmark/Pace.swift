import LinuxSystem

/// How often something is measured: until enough was seen or the time for it is over.
struct Pace {
    let least: Int
    let most: Int
    /// Nanoseconds of CLOCK_MONOTONIC.
    let until: UInt64

    /// At least `least` times, then on to `most` while `seconds` have not passed; `passes` in place of both where it
    /// is given.
    init(_ least: Int, _ most: Int, seconds: Double, passes: Int? = nil) {
        self.least = passes ?? least
        self.most = passes ?? most
        until = monotonicNanoseconds() + UInt64(seconds * 1e9)
    }

    func goesOn(after done: Int) -> Bool {
        done < least || done < most && monotonicNanoseconds() < until
    }
}

/// Milliseconds that `body` takes.
func timed<Failure: Error>(_ body: () throws(Failure) -> Void) throws(Failure) -> Double {
    let began = monotonicNanoseconds()
    try body()
    return Double(monotonicNanoseconds() - began) / 1e6
}
