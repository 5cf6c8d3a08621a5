import Glibc

/// How many descriptors this process may have open (RLIMIT_NOFILE, getrlimit(2)).
public enum DescriptorLimit {
    /// A soft and a hard limit.
    public struct Values: Hashable, Sendable {
        /// How many there may be.
        public let soft: UInt64
        /// How far the process itself may raise that.
        public let hard: UInt64
    }

    /// What this process was started with; what it starts for others should have the same.
    public static let atStart = current

    /// What holds now.
    public static var current: Values {
        var values = rlimit()
        getrlimit(RLIMIT_NOFILE, &values)
        return Values(soft: UInt64(values.rlim_cur), hard: UInt64(values.rlim_max))
    }

    /// Raises the soft limit to the hard one: the usual soft limit of 1,024 is for programs that use select(2).
    ///
    /// Nothing happens where the kernel refuses, as it does not.
    public static func raise() {
        var values = rlimit(rlim_cur: rlim_t(atStart.hard), rlim_max: rlim_t(atStart.hard))
        setrlimit(RLIMIT_NOFILE, &values)
    }
}
