import FoundationEssentials
import Glibc
import LinuxSystem
import Messages

/// The server's half of an exec stream: one thread carries output, another what the client sends.
///
/// Output is acknowledged to the engine only once it is in the client's socket. From there a client that
/// lives reads it even after the server was killed; what it did not get it asks for when it attaches again.
final class ExecStream: Sendable {
    private let service: Service
    private let socket: Int32
    private let input: Monitor<Input>

    private struct Input {
        var decoder: ExecFrameDecoder
        var finished = false
        /// Why the client's half ended, where the client should know.
        var refusal: ErrorMessage?
    }

    /// A stream on a connected socket, of which `received` has been read already.
    init(_ service: Service, _ socket: Int32, received: [UInt8]) {
        self.service = service
        self.socket = socket
        input = Monitor(Input(decoder: ExecFrameDecoder(received)))
    }

    /// Carries the stream to its end.
    func run(sandbox: String) {
        let observation = Observation(operation: "attach", sandbox: sandbox)
        var failure: ErrorMessage?
        defer { observation.end(service.telemetry, failure) }
        do throws(ErrorMessage) {
            guard let request = try readRequest() else { return }
            let command = try service.engine.attach(sandbox, request)
            defer { command.detach() }
            let started = ExecStarted(id: command.id, stdinOffset: command.stdinOffset)
            guard send(ExecFrame.encode(ExecFrame.FromServer.started.rawValue, JSONBody.encode(started)))
            else {
                return
            }
            let window = StdinWindow(taken: command.stdinOffset)
            startThread { self.readFrames(command, window) }
            sendEvents(of: command, window)
            // The reading thread wakes from this, and must be gone before the socket's number is.
            shutdown(socket, Int32(SHUT_RDWR))
            _ = input.wait { $0.finished ? true : nil }
        } catch {
            failure = error
            _ = send(ExecFrame.encode(ExecFrame.FromServer.error.rawValue, JSONBody.encode(error)))
        }
    }

    // MARK: Server to client

    private func sendEvents(of command: any AttachedCommand, _ window: StdinWindow) {
        while let event = command.next(deadline: nil) {
            switch event {
            case .output(let stream, let offset, let bytes):
                guard sendOutput(stream, offset, bytes) else { return }
                command.acknowledge(stream, upTo: offset + UInt64(bytes.count))
            case .stdinTaken(let offset):
                window.taken(upTo: offset)
                let type = ExecFrame.FromServer.stdinAck.rawValue
                guard send(ExecFrame.encode(type, offset: offset, [])) else { return }
            case .exited(let result):
                _ = send(ExecFrame.encode(ExecFrame.FromServer.exit.rawValue, JSONBody.encode(result)))
                return
            case .failed(let error):
                _ = send(ExecFrame.encode(ExecFrame.FromServer.error.rawValue, JSONBody.encode(error)))
                return
            }
        }
        if let refusal = input.with({ $0.refusal }) {
            _ = send(ExecFrame.encode(ExecFrame.FromServer.error.rawValue, JSONBody.encode(refusal)))
        }
    }

    private func sendOutput(_ stream: OutputStream, _ offset: UInt64, _ bytes: [UInt8]) -> Bool {
        let type: ExecFrame.FromServer = stream == .stdout ? .stdout : .stderr
        var sent = 0
        while sent < bytes.count {
            let part = bytes[sent..<min(bytes.count, sent + ExecFrame.streamChunk)]
            guard send(ExecFrame.encode(type.rawValue, offset: offset + UInt64(sent), part)) else {
                return false
            }
            sent += part.count
        }
        return true
    }

    /// Sends all of a frame, waiting for the client to read; false when it is gone.
    private func send(_ frame: [UInt8]) -> Bool {
        var sent = 0
        while sent < frame.count {
            let from = sent
            let count = frame.withUnsafeBytes {
                Glibc.send(socket, $0.baseAddress! + from, frame.count - from, Int32(MSG_NOSIGNAL))
            }
            if count > 0 {
                sent += count
            } else if errno != EINTR {
                return false
            }
        }
        return true
    }

    // MARK: Client to server

    private func readFrames(_ command: any AttachedCommand, _ window: StdinWindow) {
        do throws(ErrorMessage) {
            while let frame = try nextFrame() { try obey(frame, command, window) }
        } catch {
            input.with { $0.refusal = error }
        }
        command.detach()
        input.with(wake: true) { $0.finished = true }
    }

    private func obey(
        _ frame: ReceivedFrame, _ command: any AttachedCommand, _ window: StdinWindow
    ) throws(ErrorMessage) {
        switch ExecFrame.FromClient(rawValue: frame.type) {
        case .stdin:
            let (offset, bytes) = try frame.offsetAndBytes()
            try window.check(offset, bytes.count)
            try command.write(offset: offset, Array(bytes))
        case .stdinEnd: try command.closeStdin()
        case .signal: try command.signal(try frame.signalNumber())
        case .resize:
            let size = try frame.terminalSize()
            try command.resize(rows: size.rows, columns: size.columns)
        case .request: throw ErrorMessage(.badRequest, "an exec stream has one request frame, its first")
        case nil: throw ErrorMessage(.badRequest, "there is no frame of type \(frame.type)")
        }
    }

    /// The first frame; nil when the client goes away or sends none in time.
    private func readRequest() throws(ErrorMessage) -> ExecRequest? {
        setReceiveTimeout(seconds: Int(service.limits.requestSeconds))
        guard let frame = try nextFrame() else { return nil }
        setReceiveTimeout(seconds: 0)
        guard frame.type == ExecFrame.FromClient.request.rawValue else {
            throw ErrorMessage(.badRequest, "the first frame of an exec stream is its request")
        }
        return try JSONBody.decode(ExecRequest.self, from: Array(frame.payload))
    }

    private func nextFrame() throws(ErrorMessage) -> ReceivedFrame? {
        var decoder = input.with { input in
            defer { input.decoder = ExecFrameDecoder() }
            return input.decoder
        }
        while true {
            if let frame = try decoder.next() {
                input.with { $0.decoder = decoder }
                return frame
            }
            guard let bytes = receive() else { return nil }
            decoder.append(bytes)
        }
    }

    private func receive() -> [UInt8]? {
        let bytes = [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
            while true {
                let got = recv(socket, buffer.baseAddress, buffer.count, 0)
                count = max(0, got)
                if got >= 0 || errno != EINTR { return }
            }
        }
        return bytes.isEmpty ? nil : bytes
    }

    private func setReceiveTimeout(seconds: Int) {
        var time = timeval(tv_sec: seconds, tv_usec: 0)
        setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    }
}

/// Holds a client to what it may have sent beyond the last acknowledgement.
final class StdinWindow: Sendable {
    private let offset: Monitor<UInt64>

    init(taken offset: UInt64) { self.offset = Monitor(offset) }

    func taken(upTo offset: UInt64) { self.offset.with { $0 = max($0, offset) } }

    func check(_ first: UInt64, _ count: Int) throws(ErrorMessage) {
        let (end, overflow) = first.addingReportingOverflow(UInt64(count))
        let limit = offset.with { $0 } + UInt64(ExecFrame.stdinWindow)
        guard !overflow, end <= limit else {
            throw ErrorMessage(
                .badRequest, "more than \(ExecFrame.stdinWindow >> 10) KiB of stdin before an acknowledgement"
            )
        }
    }
}
