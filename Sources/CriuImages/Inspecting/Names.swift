import Glibc

/// What the kernel's numbers are called.
enum Names {
    /// The bits of a mask that have names, lowest first; those that have none are left out.
    static func of(_ mask: UInt64, in names: KeyValuePairs<UInt64, String>) -> [String] {
        names.filter { mask & $0.key == $0.key }.map(\.value)
    }

    /// A signal, for example `SIGTERM` or `SIGRTMIN+3`.
    static func signal(_ number: Int) -> String {
        switch number {
        case 1...31: signals[number - 1]
        // glibc keeps the first two real-time signals for itself (signal(7)).
        case 34...64: number == 34 ? "SIGRTMIN" : "SIGRTMIN+\(number - 34)"
        default: "SIG\(number)"
        }
    }

    /// The signals of a mask as the kernel keeps it: signal N is bit N - 1.
    static func signals(_ mask: UInt64) -> [String] {
        (1...64).filter { mask & 1 << UInt64($0 - 1) != 0 }.map(signal)
    }

    private static let signals = [
        "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL",
        "SIGUSR1", "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT",
        "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF",
        "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS",
    ]

    /// RLIMIT_* in their order, as prlimit(1) calls them.
    static let limits = [
        "cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks",
        "sigpending", "msgqueue", "nice", "rtprio", "rttime",
    ]

    /// SCHED_* by their numbers (sched(7)).
    static func policy(_ number: UInt32) -> String {
        switch number {
        case 0: "other"
        case 1: "fifo"
        case 2: "rr"
        case 3: "batch"
        case 5: "idle"
        case 6: "deadline"
        default: "unknown"
        }
    }

    /// CLOCK_* by their numbers.
    static func clock(_ number: UInt32) -> String {
        let names = [
            "realtime", "monotonic", "process", "thread", "monotonic_raw", "realtime_coarse",
            "monotonic_coarse", "boottime", "realtime_alarm", "boottime_alarm", "sgi", "tai",
        ]
        return names.indices.contains(Int(number)) ? names[Int(number)] : "clock \(number)"
    }

    /// What a file was opened for: O_ACCMODE and O_PATH of open(2).
    static func access(_ flags: UInt32) -> String {
        let flags = Int32(truncatingIfNeeded: flags)
        if flags & O_PATH != 0 { return "path" }
        return [O_RDONLY: "read", O_WRONLY: "write"][flags & O_ACCMODE] ?? "read-write"
    }

    /// Further flags of open(2) that stay with the open file.
    static func openFlags(_ flags: UInt32) -> [String] {
        var names = of(
            UInt64(flags),
            in: [
                0o2000: "O_APPEND", 0o4000: "O_NONBLOCK", 0o20000: "O_ASYNC", 0o40000: "O_DIRECT",
                0o200000: "O_DIRECTORY", 0o400000: "O_NOFOLLOW", 0o1000000: "O_NOATIME",
            ])
        // O_SYNC has the bit of O_DSYNC too.
        if flags & 0o4010000 == 0o4010000 {
            names.append("O_SYNC")
        } else if flags & 0o10000 != 0 {
            names.append("O_DSYNC")
        }
        return names
    }

    /// EPOLL* of epoll_ctl(2).
    static func pollEvents(_ mask: UInt32) -> [String] {
        of(
            UInt64(mask),
            in: [
                1: "EPOLLIN", 2: "EPOLLPRI", 4: "EPOLLOUT", 8: "EPOLLERR", 0x10: "EPOLLHUP",
                0x40: "EPOLLRDNORM", 0x80: "EPOLLRDBAND", 0x100: "EPOLLWRNORM", 0x200: "EPOLLWRBAND",
                0x2000: "EPOLLRDHUP", 1 << 28: "EPOLLEXCLUSIVE", 1 << 29: "EPOLLWAKEUP",
                1 << 30: "EPOLLONESHOT", 1 << 31: "EPOLLET",
            ])
    }

    /// IN_* of inotify(7).
    static func fileEvents(_ mask: UInt32) -> [String] {
        of(
            UInt64(mask),
            in: [
                1: "IN_ACCESS", 2: "IN_MODIFY", 4: "IN_ATTRIB", 8: "IN_CLOSE_WRITE", 0x10: "IN_CLOSE_NOWRITE",
                0x20: "IN_OPEN", 0x40: "IN_MOVED_FROM", 0x80: "IN_MOVED_TO", 0x100: "IN_CREATE",
                0x200: "IN_DELETE", 0x400: "IN_DELETE_SELF", 0x800: "IN_MOVE_SELF",
                0x0100_0000: "IN_ONLYDIR", 0x8000_0000: "IN_ONESHOT",
            ])
    }

    /// FAN_* of fanotify_mark(2).
    static func fanotifyEvents(_ mask: UInt32) -> [String] {
        of(
            UInt64(mask),
            in: [
                1: "FAN_ACCESS", 2: "FAN_MODIFY", 4: "FAN_ATTRIB", 8: "FAN_CLOSE_WRITE",
                0x10: "FAN_CLOSE_NOWRITE", 0x20: "FAN_OPEN", 0x40: "FAN_MOVED_FROM", 0x80: "FAN_MOVED_TO",
                0x100: "FAN_CREATE", 0x200: "FAN_DELETE", 0x1000: "FAN_OPEN_EXEC",
                0x10000: "FAN_OPEN_PERM", 0x20000: "FAN_ACCESS_PERM",
            ])
    }

    /// MS_* of mount(2), as mount(8) calls them.
    static func mountFlags(_ flags: UInt32) -> [String] {
        of(
            UInt64(flags),
            in: [
                1: "ro", 2: "nosuid", 4: "nodev", 8: "noexec", 0x10: "sync", 0x400: "noatime",
                0x800: "nodiratime", 1 << 21: "relatime", 1 << 24: "strictatime",
            ])
    }

    /// The kernel's TCP_* states (include/net/tcp_states.h).
    static func connectionState(_ number: UInt32) -> String {
        let names = [
            "established", "syn-sent", "syn-received", "fin-wait-1", "fin-wait-2", "time-wait", "closed",
            "close-wait", "last-ack", "listening", "closing", "new-syn-received",
        ]
        return names.indices.contains(Int(number) - 1) ? names[Int(number) - 1] : "state \(number)"
    }

    /// SOCK_* of socket(2).
    static func socketType(_ number: UInt32) -> String {
        switch number {
        case 1: "stream"
        case 2: "dgram"
        case 3: "raw"
        case 4: "rdm"
        case 5: "seqpacket"
        case 10: "packet"
        default: "unknown"
        }
    }

    /// IPPROTO_*, by its number.
    static func internetProtocol(_ number: UInt32) -> String {
        switch number {
        case 1: "icmp"
        case 6: "tcp"
        case 17: "udp"
        case 58: "icmpv6"
        case 136: "udplite"
        case 255: "raw"
        default: "protocol \(number)"
        }
    }

    /// NETLINK_* of netlink(7).
    static func netlinkProtocol(_ number: UInt32) -> String {
        let names: [UInt32: String] = [
            0: "route", 2: "usersock", 4: "sock_diag", 6: "xfrm", 9: "audit", 12: "netfilter",
            15: "kobject_uevent", 16: "generic",
        ]
        return names[number] ?? "netlink \(number)"
    }

    /// What shutdown(2) has closed; nil for nothing.
    static func shutdown(_ number: UInt32) -> String? { [1: "read", 2: "write", 3: "both"][number] }
}
