import CMicroHTTPD
import Glibc
import LinuxSystem
import Messages
import Telemetry

/// One request and its answer, from the request line to the last byte sent.
///
/// libmicrohttpd calls it on the connection's own thread only, first once without a body, then once for each
/// piece of the body, then once more; the answer may be queued in that last call without ending keep-alive.
final class Exchange {
    private enum Stage {
        case requestLine(String)
        case collecting(Route, Call, [UInt8])
        case uploading(any Upload)
        /// The rest of the body is dropped, then the refusal is the answer.
        case refusing(Refusal)
        case answered
    }
    private let service: Service
    private let connection: OpaquePointer
    private var stage: Stage
    private var dropped = 0
    /// Whether the header was seen.
    private(set) var begun = false
    private var counted = false
    /// Whether it was noted to be waiting.
    private var waits = false
    /// The operation, from when it is known which to when its end is noted.
    private var observation: Observation?
    private let arrived = monotonicNanoseconds()
    /// Kept until the stream is over; libmicrohttpd has a pointer to it.
    private var upgrade: Upgrade?
    private var download: StreamDownload?

    /// A request of which only the target is known.
    init(_ service: Service, _ connection: OpaquePointer, target: String) {
        self.service = service
        self.connection = connection
        stage = .requestLine(target)
    }

    /// Handles the first call, when the header is complete; false closes the connection.
    func begin(method: String) -> Bool {
        begun = true
        service.wakefulness?.stir()
        guard case .requestLine(let text) = stage else { return false }
        if let objection = service.objection(to: ckpt_http_socket(connection)) {
            // Nothing that it goes on to say is read.
            return queue(Refusal(objection, headers: [("Connection", "close")]))
        }
        do throws(Refusal) {
            try service.traffic.beginRequest(ckpt_http_socket(connection))
            counted = true
            let (route, call) = try route(method: method, text)
            waits = route.isWait
            if waits { service.traffic.beginWait() }
            observation = Observation(route, call, since: arrived)
            switch route.action {
            case .upload(let reader): stage = .uploading(try StreamUpload.start(call, reader))
            case .writeFile: stage = .uploading(FileUpload(call))
            case .answer, .pieces, .text, .events, .download, .produce, .readFile, .attach,
                .lend:
                stage = .collecting(route, call, [])
            }
        } catch {
            stage = .refusing(error)
            // With its length announced there is no need to read it: answering now closes the connection.
            if error.status == 413 { return queue(error) }
        }
        return true
    }

    private func route(method: String, _ text: String) throws(Refusal) -> (Route, Call) {
        let target: RequestTarget
        do throws(ErrorMessage) { target = try RequestTarget(text) } catch { throw Refusal(error) }
        let (route, parameters) = try service.router.find(method: method, target)
        if !route.takesStream, let length = header("Content-Length").flatMap({ Int($0) }),
            length > JSONBody.limit
        {
            throw .bodyTooLarge
        }
        let call = Call(
            engine: service.engine, telemetry: service.telemetry, control: service.control,
            parameters: parameters, query: target.query,
            cancelled: Cancellation(watching: ckpt_http_socket(connection)))
        return (route, call)
    }

    /// Takes a piece of the body; false closes the connection.
    func receive(_ bytes: UnsafeRawBufferPointer) -> Bool {
        switch stage {
        case .collecting(let route, let call, var body):
            // Without this the array has two owners, and each piece would copy all before it.
            stage = .answered
            if body.count + bytes.count > JSONBody.limit {
                stage = .refusing(.bodyTooLarge)
                return receive(bytes)
            }
            body += bytes
            stage = .collecting(route, call, body)
        case .uploading(let upload):
            // The client cannot be blamed for the engine's time.
            ckpt_http_set_timeout(connection, 0)
            upload.write(bytes)
            ckpt_http_set_timeout(connection, service.limits.requestSeconds)
        case .refusing, .answered:
            dropped += bytes.count
            return dropped <= 2 * JSONBody.limit
        case .requestLine:
            return false
        }
        return true
    }

    /// Handles the last call, when the request is complete; false closes the connection.
    func finish() -> Bool {
        // The engine takes as long as it takes: the time-out is for clients.
        ckpt_http_set_timeout(connection, 0)
        defer { ckpt_http_set_timeout(connection, service.limits.stallSeconds) }
        let before = stage
        stage = .answered
        service.traffic.received(ckpt_http_socket(connection))
        switch before {
        case .collecting(let route, let call, let body):
            do throws(Refusal) {
                return try answer(route, call, body)
            } catch {
                return queue(error)
            }
        case .uploading(let upload):
            do throws(ErrorMessage) {
                let answer = try upload.finish()
                note(nil)
                return queue(200, answer)
            } catch {
                return queue(Refusal(error))
            }
        case .refusing(let refusal): return queue(refusal)
        case .requestLine, .answered: return false
        }
    }

    private func answer(_ route: Route, _ call: Call, _ body: [UInt8]) throws(Refusal) -> Bool {
        do throws(ErrorMessage) {
            switch route.action {
            case .answer(let run):
                let (answer, bytes) = try run(call, body)
                note(nil, answer)
                return queue(200, bytes)
            case .pieces(let run):
                let pieces = try run(call)
                note(nil)
                return queue(pieces)
            case .text(let type, let run):
                let text = try run(call)
                note(nil)
                return queue(200, Array(text.utf8), type: type)
            case .events(let start):
                let stream = EventStream(service.telemetry.events, try start(call))
                note(nil)
                return queue(stream, cancelled: call.cancelled)
            case .download(let type, let writer):
                return queue(try StreamDownload.start(try writer(call)), type)
            case .produce(let type, let writer):
                return queue(try StreamDownload.start(try writer(call, body)), type)
            case .readFile: return queue(try FileDownload(call))
            case .upload, .writeFile: return false
            case .attach, .lend: break
            }
        } catch {
            throw Refusal(error)
        }
        let upgrade = Upgrade(service, sandbox: call["name"], session: call.parameters["session"])
        let (what, name) = (upgrade.what, upgrade.protocolName)
        guard header("Upgrade")?.lowercased() == name else {
            throw Refusal(
                ErrorMessage(.badRequest, "\(what) needs the header Upgrade: \(name)"),
                status: 426, headers: [("Upgrade", name)])
        }
        return queue(upgrade)
    }

    /// Ends the exchange, whether or not an answer was sent.
    func end() {
        switch stage {
        case .uploading(let upload):
            upload.abandon()
            note(ErrorMessage(.cancelled, "the client went away"))
        // Streams end here; everything else was noted before.
        case .answered: note(download?.failure)
        case .requestLine, .collecting, .refusing: break
        }
        stage = .answered
        if !waits { service.wakefulness?.stir() }
        if counted { service.traffic.endRequest(ckpt_http_socket(connection), wait: waits) }
        counted = false
    }

    private func header(_ name: String) -> String? {
        MHD_lookup_connection_value(connection, MHD_ValueKind.HEADER_KIND, name).map { String(cString: $0) }
    }
}

extension Exchange {
    /// Notes the operation's end, the first time it is called.
    private func note(_ error: ErrorMessage?, _ answer: (any Sendable)? = nil) {
        guard let ended = observation else { return }
        observation = nil
        ended.end(service.telemetry, error, answer)
    }

    private func queue(_ refusal: Refusal) -> Bool {
        if observation == nil { service.telemetry.metrics.refused(refusal.message.code) }
        note(refusal.message)
        return queue(
            refusal.status, JSONBody.encode(ErrorEnvelope(error: refusal.message)), headers: refusal.headers)
    }

    private func queue(
        _ status: Int, _ body: [UInt8], type: String = "application/json", headers: [(String, String)] = []
    ) -> Bool {
        let response = body.withUnsafeBytes { bytes in
            MHD_create_response_from_buffer(
                bytes.count, UnsafeMutableRawPointer(mutating: bytes.baseAddress), .RESPMEM_MUST_COPY)
        }
        return send(response, status, [("Content-Type", type)] + headers)
    }

    /// Bytes of an answer that may wait in the kernel for their reader.
    private static let mostWaiting = 16 << 20

    /// Sends the pieces from where they lie.
    private func queue(_ pieces: [SharedBytes]) -> Bool {
        let vectors = pieces.filter { !$0.bytes.isEmpty }.map {
            MHD_IoVec(iov_base: $0.bytes.baseAddress, iov_len: $0.bytes.count)
        }
        // Whoever reads it on a busy machine is not waited for at every 200 KB. Only root may, and it is no matter.
        var room = Int32(min(pieces.reduce(0) { $0 + $1.bytes.count }, Self.mostWaiting))
        setsockopt(
            ckpt_http_socket(connection), SOL_SOCKET, SO_SNDBUFFORCE, &room,
            socklen_t(MemoryLayout<Int32>.size))
        let owner = Unmanaged.passRetained(SentPieces(pieces))
        let response = vectors.withUnsafeBufferPointer {
            MHD_create_response_from_iovec(
                $0.baseAddress, UInt32($0.count), SentPieces.release, owner.toOpaque())
        }
        if response == nil { owner.release() }
        return send(response, 200, [("Content-Type", "application/json")])
    }

    private func queue(_ download: StreamDownload, _ type: String) -> Bool {
        let length = UInt64(bitPattern: -1)  // MHD_SIZE_UNKNOWN: chunked
        self.download = download
        download.connection = connection
        download.stallSeconds = service.limits.stallSeconds
        let response = MHD_create_response_from_callback(
            length, StreamDownload.blockSize, StreamDownload.readBlock,
            Unmanaged.passRetained(download).toOpaque(), StreamDownload.release)
        download.response = response
        return send(response, 200, [("Content-Type", type)])
    }

    private func queue(_ download: FileDownload) -> Bool {
        let type = "application/octet-stream"
        if let bytes = download.whole { return queue(200, bytes, type: type) }
        let length = UInt64(bitPattern: -1)  // MHD_SIZE_UNKNOWN: chunked
        let response = MHD_create_response_from_callback(
            length, FileDownload.blockSize, FileDownload.readBlock,
            Unmanaged.passRetained(download).toOpaque(), FileDownload.release)
        return send(response, 200, [("Content-Type", type)])
    }

    private func queue(_ stream: EventStream, cancelled: Cancellation) -> Bool {
        (stream.connection, stream.stallSeconds) = (connection, service.limits.stallSeconds)
        stream.cancelled = cancelled
        let length = UInt64(bitPattern: -1)  // MHD_SIZE_UNKNOWN: chunked
        let response = MHD_create_response_from_callback(
            length, EventStream.blockSize, EventStream.readBlock,
            Unmanaged.passRetained(stream).toOpaque(), EventStream.release)
        return send(response, 200, [("Content-Type", "application/x-ndjson")])
    }

    private func queue(_ upgrade: Upgrade) -> Bool {
        // It notes its own end.
        observation = nil
        self.upgrade = upgrade
        let response = MHD_create_response_for_upgrade(
            Upgrade.run, Unmanaged.passUnretained(upgrade).toOpaque())
        return send(response, 101, [("Upgrade", upgrade.protocolName)])
    }

    private func send(_ response: OpaquePointer?, _ status: Int, _ headers: [(String, String)]) -> Bool {
        guard let response else { return false }
        for (name, value) in headers { MHD_add_response_header(response, name, value) }
        defer { MHD_destroy_response(response) }
        return MHD_queue_response(connection, UInt32(status), response) == .YES
    }
}

extension Refusal {
    static var bodyTooLarge: Refusal {
        Refusal(
            ErrorMessage(.badRequest, "the body is larger than \(JSONBody.limit >> 20) MiB"), status: 413)
    }

    /// Every connection there may be waits for its answer.
    static func tooManyRequests(_ limit: Int) -> Refusal {
        Refusal(
            ErrorMessage(
                .inUse, "the server has \(limit) requests under way and takes no more",
                hint: "send the request again later"),
            status: 503, headers: [("Retry-After", "1"), ("Connection", "close")])
    }

    /// `Retry-After` tells a client that nothing was done and any request may be sent again.
    static var shuttingDown: Refusal {
        Refusal(
            ErrorMessage(.wrongState, "the server is shutting down", hint: "send the request again"),
            status: 503, headers: [("Retry-After", "0"), ("Connection", "close")])
    }
}
