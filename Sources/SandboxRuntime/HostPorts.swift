import Glibc
import LinuxSystem
public import Messages

/// Ports of the host that are to lead into a sandbox.
public enum HostPorts {
    /// The ports to forward for what was asked: a free one of the host for each that names none, and with `allFree`
    /// for all of them. Throws `RuntimeError.portTaken`.
    ///
    /// Nothing holds them until pasta listens: another program may be faster.
    public static func choose(_ asked: [PortForward], allFree: Bool = false) throws(RuntimeError)
        -> [PublishedPort]
    {
        var sockets: [Int32] = []
        defer { sockets.forEach { close($0) } }
        var chosen: [PublishedPort] = []
        for forward in asked {
            let wanted = allFree ? nil : forward.hostPort
            let (socket, port) = try bind(forward, to: wanted ?? 0)
            // Held until all are chosen, so that none is chosen twice.
            sockets.append(socket)
            chosen.append(
                PublishedPort(
                    address: forward.address, hostPort: port, boxPort: forward.boxPort,
                    transport: forward.transport))
        }
        return chosen
    }

    private static func bind(
        _ forward: PortForward, to port: UInt16
    ) throws(RuntimeError) -> (socket: Int32, port: UInt16) {
        let isIPv4 = forward.address.map { !$0.contains(":") } ?? false
        let (family, kind) = (
            isIPv4 ? AF_INET : AF_INET6,
            Int32(forward.transport == .tcp ? SOCK_STREAM.rawValue : SOCK_DGRAM.rawValue)
        )
        let made = socket(family, kind | Int32(SOCK_CLOEXEC.rawValue), 0)
        // A host without IPv6 has just the other.
        let number =
            made < 0 && forward.address == nil
            ? socket(AF_INET, kind | Int32(SOCK_CLOEXEC.rawValue), 0) : made
        guard number >= 0 else { throw .system(.last("socket")) }
        let isV6 = number == made && !isIPv4
        var one: Int32 = 1
        setsockopt(number, SOL_SOCKET, SO_REUSEADDR, &one, 4)
        var result: Int32
        var bound: UInt16 = 0
        if isV6 {
            var off: Int32 = 0
            setsockopt(number, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &off, 4)
            var place = sockaddr_in6()
            place.sin6_family = sa_family_t(AF_INET6)
            place.sin6_port = port.bigEndian
            if let address = forward.address { inet_pton(AF_INET6, address, &place.sin6_addr) }
            (result, bound) = bind(number, &place) { $0.sin6_port }
        } else {
            var place = sockaddr_in()
            place.sin_family = sa_family_t(AF_INET)
            place.sin_port = port.bigEndian
            if let address = forward.address { inet_pton(AF_INET, address, &place.sin_addr) }
            (result, bound) = bind(number, &place) { $0.sin_port }
        }
        if result == 0, forward.transport == .tcp { result = listen(number, 1) }
        if result == 0 { return (number, bound) }
        let code = errno
        close(number)
        throw .portTaken(forward, port: port, code: code)
    }

    private static func bind<Address>(
        _ number: Int32, _ place: inout Address, port: (Address) -> UInt16
    ) -> (Int32, UInt16) {
        var length = socklen_t(MemoryLayout<Address>.size)
        let result = withUnsafeMutablePointer(to: &place) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer -> Int32 in
                let result = Glibc.bind(number, __CONST_SOCKADDR_ARG(__sockaddr__: pointer), length)
                return result == 0
                    ? getsockname(number, __SOCKADDR_ARG(__sockaddr__: pointer), &length) : result
            }
        }
        return (result, UInt16(bigEndian: port(place)))
    }
}
