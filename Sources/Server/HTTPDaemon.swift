import CMicroHTTPD
import Glibc
import LinuxSystem
import Messages

/// libmicrohttpd at work on a listening socket: a thread for each connection.
final class HTTPDaemon: @unchecked Sendable {
    // Sendable because what it holds is set before the first thread starts and not changed until the last
    // has ended; libmicrohttpd's own calls used here are safe from any thread.
    private let service: Service
    private let listener: Int32
    private var daemon: OpaquePointer?

    /// Takes the listening socket over.
    init(_ service: Service, on listener: consuming Descriptor) {
        self.service = service
        self.listener = listener.release()
    }

    /// Starts to accept.
    func start() throws(SystemError) {
        var callbacks = ckpt_http_callbacks(
            context: Unmanaged.passUnretained(self).toOpaque(), begin: HTTPDaemon.begin,
            handle: HTTPDaemon.handle, end: HTTPDaemon.end, connection: HTTPDaemon.connection)
        let limits = service.limits
        daemon = ckpt_http_start(
            listener, limits.connections + limits.surplus, limits.requestSeconds, &callbacks)
        guard daemon != nil else { throw .last("MHD_start_daemon") }
    }

    /// Accepts no more; connections that are there go on.
    func quiesce() {
        if let daemon { MHD_quiesce_daemon(daemon) }
    }

    /// Closes what is left and waits for every connection's thread; nothing may run any more.
    func stop() {
        if let daemon { MHD_stop_daemon(daemon) }
        daemon = nil
        _ = close(listener)
    }

    private static func from(_ context: UnsafeMutableRawPointer?) -> HTTPDaemon {
        Unmanaged<HTTPDaemon>.fromOpaque(context!).takeUnretainedValue()
    }

    /// A connection was accepted, or is about to be closed.
    private static let connection: MHD_NotifyConnectionCallback = { context, connection, _, what in
        let traffic = from(context).service.traffic
        let socket = ckpt_http_socket(connection)
        if what == .CONNECTION_NOTIFY_STARTED { traffic.opened(socket) } else { traffic.closed(socket) }
    }

    /// The request line has arrived.
    private static let begin: ckpt_uri_callback = { context, target, connection in
        let service = from(context).service
        // Between requests a kept connection may be idle for as long as it likes; within one it may not.
        ckpt_http_set_timeout(connection, service.limits.requestSeconds)
        let text = target.map { String(cString: $0) } ?? ""
        return Unmanaged.passRetained(Exchange(service, connection!, target: text)).toOpaque()
    }

    /// The header, a piece of the body, or the end of the request has arrived.
    private static let handle: MHD_AccessHandlerCallback = {
        context, connection, _, method, _, bytes, count, request in
        guard let pointer = request?.pointee, let method, let count else { return MHD_Result.NO }
        let exchange = Unmanaged<Exchange>.fromOpaque(pointer).takeUnretainedValue()
        let goOn: Bool
        if !exchange.begun {
            goOn = exchange.begin(method: String(cString: method))
        } else if count.pointee > 0 {
            goOn = exchange.receive(UnsafeRawBufferPointer(start: bytes, count: count.pointee))
            count.pointee = 0
        } else {
            goOn = exchange.finish()
        }
        return goOn ? MHD_Result.YES : MHD_Result.NO
    }

    /// The answer is sent, or the connection is broken.
    private static let end: MHD_RequestCompletedCallback = { context, connection, request, _ in
        ckpt_http_set_timeout(connection, 0)
        guard let pointer = request?.pointee else { return }
        request?.pointee = nil
        Unmanaged<Exchange>.fromOpaque(pointer).takeRetainedValue().end()
    }
}
