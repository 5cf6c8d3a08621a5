import Glibc
import LinuxSystem
public import Messages

/// A socket that listened before this server began.
public struct InheritedSocket: Sendable {
    /// Owned by the server from now on.
    let descriptor: Int32
    /// Whether the one who gave it keeps it too, and its file stays when the server ends.
    let isLent: Bool
    /// One that listens for whoever wants the numbers, in the place of the server's own.
    let metrics: MetricsSocket?

    /// The socket of a server whose place this one takes.
    public init(takingOver descriptor: Int32, metrics: MetricsSocket? = nil) {
        (self.descriptor, self.metrics) = (descriptor, metrics)
        isLent = false
    }

    /// The socket that systemd gives to a service it starts on demand; nil where there is none.
    ///
    /// It is descriptor 3 of the process that LISTEN_PID names (sd_listen_fds(3)); the variables are taken away, so that
    /// nobody else takes it. Throws `badValue` where it is no Unix socket that listens, or not the only one: callers
    /// would wait on it for ever.
    public init?(fromEnvironment: Void) throws(ErrorMessage) {
        let variable = { (name: String) in getenv(name).flatMap { Int32(String(cString: $0)) } }
        let (process, count) = (variable("LISTEN_PID"), variable("LISTEN_FDS"))
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsetenv(name) }
        guard process == getpid(), let count, count > 0 else { return nil }
        guard count == 1, Self.listens(3) else {
            throw ErrorMessage(
                .badValue,
                "LISTEN_FDS names \(count) sockets from descriptor 3 on, and not one Unix socket that listens",
                hint: "give the socket's unit one ListenStream=, of ROOT/server.sock")
        }
        _ = fcntl(3, F_SETFD, FD_CLOEXEC)
        descriptor = 3
        isLent = true
        metrics = nil
    }

    /// Whether a descriptor is a Unix socket that listens.
    public static func listens(_ descriptor: Int32) -> Bool {
        func option(_ name: Int32) -> Int32? {
            var value: Int32 = 0
            var size = socklen_t(MemoryLayout<Int32>.size)
            return getsockopt(descriptor, SOL_SOCKET, name, &value, &size) == 0 ? value : nil
        }
        return option(SO_DOMAIN) == AF_UNIX && option(SO_ACCEPTCONN) == 1
    }
}

/// Whoever watches over this process, and wants to be told what becomes of it (sd_notify(3)).
struct ServiceManager {
    /// Where it listens for datagrams; nil where there is nobody.
    private let address: String?

    /// Finds it in NOTIFY_SOCKET, which is taken away: what the server starts is not the service.
    init() {
        address = getenv("NOTIFY_SOCKET").map { String(cString: $0) }
        unsetenv("NOTIFY_SOCKET")
    }

    /// Sends lines of `NAME=VALUE`; nobody's absence stops the server.
    func tell(_ state: String) {
        guard let address, address.hasPrefix("/") || address.hasPrefix("@"), address.utf8.count > 1 else {
            return
        }
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        var bytes = Array(address.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: name.sun_path) else { return }
        // `@` stands for the NUL of an abstract address (unix(7)).
        if bytes[0] == UInt8(ascii: "@") { bytes[0] = 0 }
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: bytes) }
        let kind = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let number = socket(AF_UNIX, kind, 0)
        guard number >= 0 else { return }
        let endpoint = Descriptor(owning: number)
        let size = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
        let text = Array(state.utf8)
        withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                let target = __CONST_SOCKADDR_ARG(__sockaddr__: generic)
                _ = sendto(endpoint.raw, text, text.count, Int32(MSG_NOSIGNAL), target, size)
            }
        }
    }
}
