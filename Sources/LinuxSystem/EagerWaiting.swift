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
    clinux_look_out(descriptor, nanoseconds) != 0
}
