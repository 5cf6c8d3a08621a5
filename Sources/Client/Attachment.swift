import FoundationEssentials
import Glibc
import LinuxSystem
import Messages

/// One connection that has become an exec stream.
struct Attachment {
    let socket: Int32
    let decoder: ExecFrameDecoder
    let started: ExecStarted

    /// Connects, upgrades and attaches, again and again until a server answers or the endpoint's patience
    /// ends.
    ///
    /// The first time, a server must be there or be startable; `again`, somebody else may be about to start
    /// one.
    static func make(
        _ endpoint: Endpoint, sandbox: String, _ request: ExecRequest, again: Bool
    ) throws(ErrorMessage) -> Attachment {
        let deadline = monotonicNanoseconds() + endpoint.patience * 1_000_000
        while true {
            if again, endpoint.launch == nil, monotonicNanoseconds() < deadline, !endpoint.isListening {
                usleep(20_000)
                continue
            }
            let connection = HTTPConnection(try endpoint.connect())
            let attached: Result<Attachment, ErrorMessage>
            do throws(TransportError) {
                attached = try make(connection, sandbox, request)
            } catch {
                guard case .lost = error, monotonicNanoseconds() < deadline else { throw error.message }
                usleep(20_000)
                continue
            }
            return try attached.get()
        }
    }

    private static func make(
        _ connection: HTTPConnection, _ sandbox: String, _ request: ExecRequest
    ) throws(TransportError) -> Result<Attachment, ErrorMessage> {
        let fields = "Connection: Upgrade\r\nUpgrade: \(ExecFrame.protocolName)\r\n"
        let path = "/v1/sandboxes/\(Client.encode(sandbox))/attach"
        try connection.send(Client.head("GET", path, bodyLength: nil, fields: fields))
        let head = try connection.readHead()
        guard head.status == 101 else {
            var body: [UInt8] = []
            try connection.readBody(head) { (piece) throws(TransportError) in body += piece }
            if head.retry { throw .lost("the server is shutting down", untouched: true) }
            return .failure(Client.failure(head.status, body))
        }
        let (socket, received) = try connection.upgrade()
        do throws(TransportError) {
            let attachment = try handshake(socket, received, request)
            if case .failure = attachment { close(socket) }
            return attachment
        } catch {
            close(socket)
            throw error
        }
    }

    /// Sends the request frame and waits for `started` or `error`.
    private static func handshake(
        _ socket: Int32, _ received: [UInt8], _ request: ExecRequest
    ) throws(TransportError) -> Result<Attachment, ErrorMessage> {
        let payload: [UInt8]
        do throws(ErrorMessage) { payload = try Client.encode(request) } catch { return .failure(error) }
        guard payload.count <= ExecFrame.maximumPayload else {
            return .failure(ErrorMessage(.badValue, "the command and its environment are larger than 1 MiB"))
        }
        do throws(SystemError) {
            try sendAllBytes(ExecFrame.encode(ExecFrame.FromClient.request.rawValue, payload), on: socket)
        } catch {
            throw .lost("\(error)", untouched: true)
        }
        var decoder = ExecFrameDecoder(received)
        while true {
            let frame: ReceivedFrame?
            do throws(ErrorMessage) { frame = try decoder.next() } catch { return .failure(error) }
            if let frame { return first(frame, socket, decoder) }
            let bytes = receiveBytes(from: socket)
            guard !bytes.isEmpty else { throw .lost("the server closed it", untouched: true) }
            decoder.append(bytes)
        }
    }

    private static func first(
        _ frame: ReceivedFrame, _ socket: Int32, _ decoder: ExecFrameDecoder
    ) -> Result<Attachment, ErrorMessage> {
        let data = Data(frame.payload)
        switch ExecFrame.FromServer(rawValue: frame.type) {
        case .started:
            if let started = try? JSONDecoder().decode(ExecStarted.self, from: data) {
                return .success(Attachment(socket: socket, decoder: decoder, started: started))
            }
        case .error:
            if let error = try? JSONDecoder().decode(ErrorMessage.self, from: data) { return .failure(error) }
        default: break
        }
        return .failure(
            ErrorMessage(.versionMismatch, "the server began the exec stream with a frame nobody knows"))
    }
}

/// Waits for bytes on a socket; none when the other side is gone.
func receiveBytes(from socket: Int32) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
        while true {
            let got = recv(socket, buffer.baseAddress, buffer.count, 0)
            count = max(0, got)
            if got >= 0 || errno != EINTR { return }
        }
    }
}
