import CLinux
import Glibc
public import LinuxSystem

/// An option of a socket and its value (getsockopt(2)).
public struct SocketOption: Codable, Equatable, Sendable {
    public let level: Int32
    public let name: Int32
    public var value: [UInt8]

    init(level: Int32, name: Int32, value: [UInt8]) {
        (self.level, self.name, self.value) = (level, name, value)
    }

    /// nil where the socket has no such option.
    init?(_ level: Int32, _ name: Int32, of socket: Int32) {
        var bytes = [UInt8](repeating: 0, count: 16)
        var length = socklen_t(bytes.count)
        guard getsockopt(socket, level, name, &bytes, &length) == 0 else { return nil }
        (self.level, self.name, value) = (level, name, Array(bytes.prefix(Int(length))))
    }

    /// Gives a socket this value.
    ///
    /// Options that a save does not note are refused: what a snapshot says may come from elsewhere, and the sandbox
    /// itself could not set each of them.
    public func set(on socket: Int32) throws(SystemError) {
        guard SocketOptionReader.notes(self), isAllowed else {
            throw SystemError(call: "setsockopt", code: EPERM)
        }
        if setsockopt(socket, level, name, value, socklen_t(value.count)) != 0 { throw .last("setsockopt") }
    }
}

extension SocketOption {
    /// Not the congestion control that only root may choose (tcp(7), tcp_allowed_congestion_control).
    fileprivate var isAllowed: Bool {
        guard level == IPPROTO_TCP, name == 13 else { return true }
        let allowed = (try? Files.read("/proc/sys/net/ipv4/tcp_allowed_congestion_control")) ?? []
        let names = String(decoding: allowed, as: UTF8.self).split { $0 == " " || $0 == "\n" }
        return names.contains { Array($0.utf8) == Array(value.prefix { $0 != 0 }) }
    }
}

/// Reads the options of sockets that CRIU 4.2 loses; made once a save, for what a fresh socket has depends on the
/// sandbox.
public struct SocketOptionReader {
    private struct Sort: Hashable {
        let domain, type, transport: Int32
    }
    private var fresh: [Sort: [SocketOption]] = [:]

    public init() {}

    /// The options of a socket that a process has, by its pid on the host, that are not as in a fresh one.
    public mutating func unusual(of descriptor: Int32, in process: Int32) -> [SocketOption] {
        guard let socket = Descriptor.duplicate(of: descriptor, in: process) else { return [] }
        func one(_ name: Int32) -> Int32 {
            var (value, length): (Int32, socklen_t) = (-1, 4)
            return getsockopt(socket.raw, SOL_SOCKET, name, &value, &length) == 0 ? value : -1
        }
        let sort = Sort(domain: one(SO_DOMAIN), type: one(SO_TYPE), transport: one(SO_PROTOCOL))
        let options = Self.options(of: socket.raw, sort)
        if options.isEmpty { return [] }
        let usual = fresh[sort] ?? Self.fresh(sort, in: process)
        fresh[sort] = usual
        return options.filter { !usual.contains($0) }
    }

    static func notes(_ option: SocketOption) -> Bool {
        lost.contains { $0 == option.level && $1 == option.name }
    }

    /// Some defaults are settings of the network namespace.
    private static func fresh(_ sort: Sort, in process: Int32) -> [SocketOption] {
        NetworkSettings.onThread(in: process) {
            let number = Glibc.socket(sort.domain, sort.type | Int32(SOCK_CLOEXEC.rawValue), sort.transport)
            if number < 0 { return [] }
            let socket = Descriptor(owning: number)
            return options(of: socket.raw, sort)
        }.wait() ?? []
    }

    private static func options(of socket: Int32, _ sort: Sort) -> [SocketOption] {
        let isInternet = sort.domain == AF_INET || sort.domain == AF_INET6
        return lost.filter { level, name in
            // A stream tells what it has of these, and mostly lets nobody set it.
            if sort.type == SOCK_STREAM.rawValue, [Level.ip, Level.ip6].contains(level),
                multicast.contains(name)
            {
                return false
            }
            return switch level {
            case Level.socket: true
            case Level.ip: isInternet
            case Level.ip6: sort.domain == AF_INET6
            case Level.netlink: sort.domain == AF_NETLINK
            default: isInternet && level == sort.transport
            }
        }.compactMap { SocketOption($0, $1, of: socket) }
    }

    /// IP_MULTICAST_TTL, IP_MULTICAST_LOOP, IP_MULTICAST_ALL, IPV6_MULTICAST_HOPS, IPV6_MULTICAST_LOOP and
    /// IPV6_MULTICAST_ALL.
    private static let multicast: [Int32] = [33, 34, 49, 18, 19, 29]

    private enum Level {
        static let socket = SOL_SOCKET
        static let ip: Int32 = 0
        static let tcp: Int32 = 6
        static let udp: Int32 = 17
        static let ip6: Int32 = 41
        static let netlink: Int32 = 270
    }

    /// What a restore by CRIU 4.2 leaves as in a fresh socket, found by setting each of them
    /// (include/uapi/asm-generic/socket.h, linux/in.h, linux/in6.h, linux/tcp.h, linux/udp.h, linux/netlink.h).
    private static let lost: [(Int32, Int32)] = [
        // SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMPING, SO_RXQ_OVFL, SO_PEEK_OFF, SO_SELECT_ERR_QUEUE, SO_ZEROCOPY,
        // SO_PASSPIDFD
        (Level.socket, [29, 35, 37, 40, 42, 45, 60, 76]),
        // IP_RECVOPTS, IP_MTU_DISCOVER, IP_RECVERR, IP_RECVTTL, IP_RECVTOS, IP_MINTTL, IP_BIND_ADDRESS_NO_PORT,
        // IP_RECVFRAGSIZE, IP_MULTICAST_TTL, IP_MULTICAST_LOOP, IP_MULTICAST_ALL
        (Level.ip, [6, 10, 11, 12, 13, 21, 24, 25, 33, 34, 49]),
        // TCP_SYNCNT, TCP_LINGER2, TCP_DEFER_ACCEPT, TCP_CONGESTION, TCP_USER_TIMEOUT, TCP_FASTOPEN,
        // TCP_NOTSENT_LOWAT, TCP_SAVE_SYN, TCP_INQ
        (Level.tcp, [7, 8, 9, 13, 18, 23, 25, 27, 36]),
        // UDP_NO_CHECK6_TX, UDP_NO_CHECK6_RX, UDP_SEGMENT, UDP_GRO
        (Level.udp, [101, 102, 103, 104]),
        // IPV6_UNICAST_HOPS, IPV6_MULTICAST_HOPS, IPV6_MULTICAST_LOOP, IPV6_MTU_DISCOVER, IPV6_RECVERR,
        // IPV6_MULTICAST_ALL, IPV6_RECVHOPLIMIT, IPV6_DONTFRAG, IPV6_RECVTCLASS, IPV6_TCLASS
        (Level.ip6, [16, 18, 19, 23, 25, 29, 51, 62, 66, 67]),
        // NETLINK_PKTINFO, NETLINK_BROADCAST_ERROR, NETLINK_NO_ENOBUFS, NETLINK_CAP_ACK, NETLINK_EXT_ACK,
        // NETLINK_GET_STRICT_CHK
        (Level.netlink, [3, 4, 5, 10, 11, 12]),
    ].flatMap { level, names in names.map { (level, $0) } }
}

/// The count of an eventfd(2).
public enum EventCounter {
    /// Adds to a count that CRIU restored the upper half of what it was, a multiple of 2³².
    ///
    /// A count that the kernel would not take makes the write wait, so it is looked at first; an error then is EINVAL.
    public static func add(_ missing: UInt64, to counter: Int32) throws(SystemError) {
        let info = (try? Files.read("/proc/self/fdinfo/\(counter)")).map {
            String(decoding: $0, as: UTF8.self)
        }
        let count = info?.split(separator: "\n").first { $0.hasPrefix("eventfd-count:") }
            .flatMap { $0.split(separator: " ").last }.flatMap { UInt64($0, radix: 16) }
        guard let count, count <= UInt32.max, missing & UInt64(UInt32.max) == 0 else {
            throw SystemError(call: "write", code: EINVAL)
        }
        // What the kernel alone can count up to nobody can write.
        var missing = min(missing, .max - 1 - count)
        if write(counter, &missing, 8) != 8 { throw .last("write") }
    }
}

extension Descriptor {
    /// A duplicate of another process's descriptor, by its pid on the host (pidfd_getfd(2)); nil where it cannot be had.
    public static func duplicate(of descriptor: Int32, in process: Int32) -> Descriptor? {
        let handle = clinux_pidfd_open(process)
        if handle < 0 { return nil }
        let pidfd = Descriptor(owning: handle)
        let number = clinux_pidfd_getfd(pidfd.raw, descriptor)
        return number < 0 ? nil : Descriptor(owning: number)
    }
}
