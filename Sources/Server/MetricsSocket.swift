import Glibc
import LinuxSystem
public import Messages

/// A TCP socket on which whoever wants the numbers is waited for.
public struct MetricsSocket: Sendable {
    /// Owned by the server from now on.
    let descriptor: Int32

    /// Listens on `ADDRESS:PORT`, an IPv6 address in brackets. Throws `badValue` for what is none, and `inUse`.
    public init(_ place: String) throws(ErrorMessage) {
        let address = try Address(place)
        do throws(SystemError) {
            let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
            let socket = Descriptor(
                owning: try retrying("socket") { Glibc.socket(address.family, type, 0) })
            var yes: Int32 = 1
            setsockopt(socket.raw, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
            try retrying("bind", place) {
                address.bytes.withUnsafeBytes { bytes in
                    let generic = bytes.assumingMemoryBound(to: sockaddr.self).baseAddress!
                    return bind(
                        socket.raw, __CONST_SOCKADDR_ARG(__sockaddr__: generic), socklen_t(bytes.count))
                }
            }
            try retrying("listen", place) { Glibc.listen(socket.raw, 16) }
            descriptor = socket.release()
        } catch {
            let isTaken = error.code == EADDRINUSE
            throw ErrorMessage(
                isTaken ? .inUse : .internal, "no port for metrics at \(place)",
                hint: isTaken ? "choose another, or end who has it: ss -ltnp tells" : nil, cause: "\(error)")
        }
    }

    /// A duplicate of what another server listens on; nil, and closed, where that is not the socket of `place`.
    public init?(takingOver descriptor: Int32, at place: String) {
        let socket = Descriptor(owning: descriptor)
        guard let address = try? Address(place), Address(of: socket.raw) == address else { return nil }
        self.descriptor = socket.release()
    }
}

/// Where a socket listens, as the kernel has it: a `sockaddr` of its family's size.
private struct Address: Equatable {
    let bytes: [UInt8]

    var family: Int32 {
        Int32(bytes.withUnsafeBytes { $0.loadUnaligned(as: sa_family_t.self) })
    }

    /// Throws `badValue` for what is no `ADDRESS:PORT`.
    init(_ place: String) throws(ErrorMessage) {
        let bad = ErrorMessage(
            .badValue, "\"\(place)\" is no address and port",
            hint: "for example 127.0.0.1:9464, or [::1]:9464")
        guard let colon = place.lastIndex(of: ":") else { throw bad }
        var host = String(place[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard !host.isEmpty, let port = UInt16(place[place.index(after: colon)...]), port > 0 else {
            throw bad
        }
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST | AI_PASSIVE
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, "\(port)", &hints, &found) == 0, let address = found else { throw bad }
        defer { freeaddrinfo(found) }
        bytes = Array(
            UnsafeRawBufferPointer(
                start: address.pointee.ai_addr, count: Int(address.pointee.ai_addrlen)))
    }

    /// The address that a socket is bound to; nil for what is no socket.
    init?(of socket: Int32) {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getsockname(socket, __SOCKADDR_ARG(__sockaddr__: $0), &size)
            }
        }
        guard result == 0 else { return nil }
        bytes = withUnsafeBytes(of: &storage) { Array($0.prefix(Int(size))) }
    }
}
