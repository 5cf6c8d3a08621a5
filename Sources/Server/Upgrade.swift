import CMicroHTTPD
import Glibc
import LinuxSystem
import Messages

/// The moment a connection stops being HTTP and becomes an exec stream, or one on which a session is lent.
final class Upgrade: Sendable {
    private let service: Service
    private let sandbox: String
    /// The one to be lent.
    private let session: String?

    init(_ service: Service, sandbox: String, session: String?) {
        self.service = service
        self.sandbox = sandbox
        self.session = session
    }

    var protocolName: String { session == nil ? ExecFrame.protocolName : SessionTerms.protocolName }
    var what: String { session == nil ? "an exec stream" : "to borrow a session" }

    /// MHD_UpgradeHandler, called once on the connection's own thread, which the stream then keeps.
    ///
    /// libmicrohttpd joins that thread before it closes the socket, so blocking here is safe
    /// (daemon.c, MHD_cleanup_connections).
    static let run: MHD_UpgradeHandler = { context, _, _, extra, extraSize, socket, handle in
        let upgrade = Unmanaged<Upgrade>.fromOpaque(context!).takeUnretainedValue()
        let early = UnsafeRawBufferPointer(start: extra, count: extraSize)
        upgrade.stream(socket, Array(early))
        ckpt_http_close_upgraded(handle)
    }

    private func stream(_ socket: Int32, _ early: [UInt8]) {
        defer { shutdown(socket, Int32(SHUT_RDWR)) }
        guard service.traffic.beginStream(socket) else { return }
        defer { service.traffic.endStream(socket) }
        // libmicrohttpd's sockets do not block; two threads of our own may.
        guard fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) & ~O_NONBLOCK) == 0 else { return }
        if let session {
            LoanStream(service, socket).run(sandbox: sandbox, session: session)
        } else {
            ExecStream(service, socket, received: early).run(sandbox: sandbox)
        }
    }
}
