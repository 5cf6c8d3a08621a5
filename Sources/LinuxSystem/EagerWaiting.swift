import CLinux

/// How long who asked for something looks for the answer before it sleeps, in nanoseconds: what a small program takes.
public let eagerness = UInt64(CLINUX_EAGERNESS)

/// Looks until there is something to read from a descriptor, or its other end is gone, or so many nanoseconds are over;
/// whether there is. To be followed by what waits for longer, also because nobody looks where many threads want to.
///
/// A processor with nothing to do sleeps, and to wake it takes some µs, in a virtual machine up to 300: more than all else
/// that a short call takes. Meanwhile everybody else may run (sched_yield(2)).
@discardableResult
public func lookOut(for descriptor: Int32, during nanoseconds: UInt64 = eagerness) -> Bool {
    withUnsafePointer(to: descriptor) { clinux_look_out($0, 1, nanoseconds) } != 0
}

/// The same for several, 3 at most: the indices of those that have something.
func lookOut(forAny descriptors: [Int32], during nanoseconds: UInt64) -> [Int] {
    let mask = clinux_look_out(descriptors, Int32(descriptors.count), nanoseconds)
    return descriptors.indices.filter { mask & 1 << $0 != 0 }
}
