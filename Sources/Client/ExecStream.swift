public import Messages
import FoundationEssentials
import Glibc
import LinuxSystem

/// One command followed over an exec stream, which survives the server.
///
/// When the connection breaks, `next` finds or starts a server and attaches again with the same id, asking
/// for what it has not got and sending again what had not arrived: no byte is lost or doubled. One thread
/// calls `next`; any others may call the rest.
public final class ExecStream: Sendable {
    /// What the command did.
    public enum Event: Sendable {
        case output(OutputStream, ArraySlice<UInt8>)
        /// It ended; the last event.
        case exited(ExecResult)
    }
    /// The command's id.
    public let id: String
    private let endpoint: Endpoint
    private let sandbox: String
    private let request: ExecRequest
    private let stdin: StdinBuffer
    private let sending: Monitor<Sending>
    private let receiving: Monitor<Receiving>

    private struct Sending {
        /// The stream's socket, and -1 between two connections.
        var socket: Int32 = -1
        var detached = false
    }

    private struct Receiving {
        var socket: Int32 = -1
        var decoder = ExecFrameDecoder()
        var offsets: [OutputStream: UInt64] = [:]
        /// Connections lost since the last frame.
        var losses = 0
    }

    /// Starts `request` in `sandbox`, or takes up the command that has its id, and waits until it runs.
    init(_ endpoint: Endpoint, sandbox: String, _ request: ExecRequest) throws(ErrorMessage) {
        self.endpoint = endpoint
        self.sandbox = sandbox
        var request = request
        id = request.id ?? Client.randomID()
        request.id = id
        self.request = request
        stdin = StdinBuffer(interactive: request.interactive ?? false)
        sending = Monitor(Sending())
        receiving = Monitor(
            Receiving(offsets: [
                .stdout: request.stdoutOffset ?? 0, .stderr: request.stderrOffset ?? 0,
            ]))
        try receiving.with { (receiving) throws(ErrorMessage) in try connect(&receiving) }
    }

    deinit { sending.with { if $0.socket >= 0 { close($0.socket) } } }

    // MARK: Receiving

    /// Waits for the next event. Throws what ended the stream: the server's error, `cancelled` after
    /// `detach`, or `internal` when no server could be found again.
    public func next() throws(ErrorMessage) -> Event {
        do throws(ErrorMessage) {
            let event = try receiving.with { (state) throws(ErrorMessage) in try nextEvent(&state) }
            if case .exited = event { stdin.end() }
            return event
        } catch {
            // Whoever waits to write need not any more.
            stdin.end()
            throw error
        }
    }

    private func nextEvent(_ state: inout Receiving) throws(ErrorMessage) -> Event {
        while true {
            guard let frame = try state.decoder.next() else {
                try receive(&state)
                continue
            }
            state.losses = 0
            if let event = try event(frame, &state) { return event }
        }
    }

    private func event(_ frame: ReceivedFrame, _ state: inout Receiving) throws(ErrorMessage) -> Event? {
        switch ExecFrame.FromServer(rawValue: frame.type) {
        case .stdout: return try output(.stdout, frame, &state)
        case .stderr: return try output(.stderr, frame, &state)
        case .exit: return .exited(try ExecStream.decode(ExecResult.self, frame))
        case .error: throw try ExecStream.decode(ErrorMessage.self, frame)
        case .stdinAck:
            stdin.acknowledge(upTo: try frame.offsetAndBytes().offset)
            return nil
        case .started, nil:
            throw ErrorMessage(.versionMismatch, "the server sent a frame of type \(frame.type)")
        }
    }

    private func output(
        _ stream: OutputStream, _ frame: ReceivedFrame, _ state: inout Receiving
    ) throws(ErrorMessage) -> Event? {
        let (offset, bytes) = try frame.offsetAndBytes()
        let have = state.offsets[stream]!
        guard offset <= have else {
            throw ErrorMessage(
                .internal, "\(offset - have) bytes of \(stream.rawValue) are missing at byte \(have)")
        }
        let new = bytes.dropFirst(Int(clamping: have - offset))
        state.offsets[stream] = have + UInt64(new.count)
        return new.isEmpty ? nil : .output(stream, new)
    }

    private func receive(_ state: inout Receiving) throws(ErrorMessage) {
        let bytes = receiveBytes(from: state.socket)
        guard bytes.isEmpty else { return state.decoder.append(bytes) }
        state.losses += 1
        guard state.losses <= Client.mostLosses else {
            throw ErrorMessage(.internal, "the server breaks the exec stream off again and again")
        }
        try connect(&state)
    }

    private static func decode<Value: Decodable>(
        _ type: Value.Type, _ frame: ReceivedFrame
    ) throws(ErrorMessage) -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(frame.payload))
        } catch {
            throw ErrorMessage(.versionMismatch, "the server's \(type) cannot be read", cause: "\(error)")
        }
    }

    // MARK: Sending

    /// Gives the command more stdin, waiting while the window is full; false once the stream has ended.
    @discardableResult
    public func write(_ bytes: [UInt8]) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            guard let taken = stdin.append(rest) else { return false }
            rest = rest.dropFirst(taken)
            sending.with { flush($0.socket) }
        }
        return true
    }

    /// Ends the command's stdin after what was written.
    public func closeStdin() {
        stdin.close()
        sending.with { flush($0.socket) }
    }

    /// Sends a signal to the command's process group; lost if the connection breaks at this very moment.
    public func signal(_ number: Int32) { send(ExecFrame.signal(number)) }

    /// Changes the terminal's size, in characters.
    public func resize(rows: UInt16, columns: UInt16) {
        stdin.size(rows: rows, columns: columns)
        send(ExecFrame.resize(rows: rows, columns: columns))
    }

    /// Stops following; the command runs on. `next` then throws `cancelled`.
    public func detach() {
        stdin.end()
        sending.with { sending in
            sending.detached = true
            if sending.socket >= 0 { shutdown(sending.socket, Int32(SHUT_RDWR)) }
        }
    }

    private func send(_ frame: [UInt8]) {
        // A broken connection is the receiving side's to notice and to mend.
        sending.with { sending in if sending.socket >= 0 { try? sendAllBytes(frame, on: sending.socket) } }
    }

    /// Sends the stdin that this connection has not been sent; the caller holds `sending`.
    private func flush(_ socket: Int32) {
        guard socket >= 0 else { return }
        while let frame = stdin.nextFrame() {
            guard (try? sendAllBytes(frame, on: socket)) != nil else { return }
        }
    }
}

extension ExecStream {
    /// Attaches, for the first time or again, and brings the server's stdin up to date.
    private func connect(_ state: inout Receiving) throws(ErrorMessage) {
        try leave(&state)
        var request = self.request
        request.stdoutOffset = state.offsets[.stdout]
        request.stderrOffset = state.offsets[.stderr]
        if let size = stdin.lastSize { (request.rows, request.columns) = (size.rows, size.columns) }
        let attached = try Attachment.make(endpoint, sandbox: sandbox, request, again: state.losses > 0)
        state.socket = attached.socket
        state.decoder = attached.decoder
        let resent = try stdin.resume(at: attached.started.stdinOffset)
        let open = sending.with { sending in
            sending.socket = attached.socket
            return !sending.detached
        }
        guard open, resent else { throw ErrorMessage(.cancelled, "detached") }
        sending.with { flush($0.socket) }
    }

    /// Closes the connection that broke.
    private func leave(_ state: inout Receiving) throws(ErrorMessage) {
        let detached = sending.with { sending in
            if sending.socket >= 0 { close(sending.socket) }
            sending.socket = -1
            return sending.detached
        }
        state.socket = -1
        if detached { throw ErrorMessage(.cancelled, "detached") }
    }
}

extension Client {
    /// `GET /v1/sandboxes/{name}/attach`: starts a command, or takes up the one that has the request's id,
    /// and returns once it runs. The stream has a connection of its own.
    public func attach(_ name: String, _ request: ExecRequest) throws(ErrorMessage) -> ExecStream {
        try ExecStream(endpoint, sandbox: name, request)
    }
}
