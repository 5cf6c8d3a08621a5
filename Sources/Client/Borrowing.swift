import CLinux
import FoundationEssentials
import Glibc
import LinuxSystem
public import Messages

/// A session that is borrowed: the ends of its bash's pipes (docs/lending.md).
public final class Borrowing {
    /// Closes what was received, whatever becomes of the rest.
    private struct Answer: ~Copyable {
        var bytes: [UInt8] = []
        var descriptors: [Int32] = []
        var start = 0

        deinit { for descriptor in descriptors { close(descriptor) } }

        /// The next line, once it is whole; the head of an HTTP answer ends with an empty one.
        mutating func line() -> String? {
            guard let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) else { return nil }
            defer { start = end + 1 }
            return String(decoding: bytes[start..<end], as: UTF8.self)
        }

        mutating func receive(from socket: Int32) throws(SystemError) {
            var piece = [UInt8](repeating: 0, count: 4096)
            var numbers = [Int32](repeating: 0, count: Int(clinux_most_descriptors))
            var count: Int32 = 0
            let got = clinux_receive_descriptors(socket, &piece, UInt(piece.count), &numbers, &count)
            guard got > 0 else { throw SystemError(call: "recvmsg", code: got == 0 ? ECONNRESET : errno) }
            bytes += piece[..<got]
            descriptors += numbers[..<Int(count)]
        }

        mutating func nextLine(from socket: Int32) throws(SystemError) -> String {
            while true {
                if let line = line() { return line }
                try receive(from: socket)
            }
        }
    }

    private let socket: Descriptor
    private var answer = Answer()
    public let terms: SessionTerms

    /// Bash's input, its control pipe, its output and error, and the file with a call's text; open as long as this is.
    public var input: Int32 { answer.descriptors[0] }
    public var control: Int32 { answer.descriptors[1] }
    public var output: Int32 { answer.descriptors[2] }
    public var error: Int32 { answer.descriptors[3] }
    public var text: Int32 { answer.descriptors[4] }

    /// Borrows a session, whose bash must be there, from the server of a root, which must listen.
    public init(root: String, sandbox: String, session: String) throws(ErrorMessage) {
        let request =
            "GET /v1/sandboxes/\(Client.encode(sandbox))/sessions/\(Client.encode(session))/loan HTTP/1.1\r\n"
            + "Host: ckpt\r\nConnection: Upgrade\r\nUpgrade: \(SessionTerms.protocolName)\r\n\r\n"
        var answer = Answer()
        let body: String
        do throws(SystemError) {
            let directory = try Descriptor.open(root, O_PATH | O_DIRECTORY)
            socket = try UnixSocket.connect("server.sock", in: directory, at: root)
            try socket.writeAll(Array(request.utf8))
            let status = try answer.nextLine(from: socket.raw)
            while try answer.nextLine(from: socket.raw) != "\r" {}
            guard status.contains(" 101 ") else { throw SystemError(call: status, code: EPROTO) }
            body = try answer.nextLine(from: socket.raw)
        } catch {
            throw ErrorMessage(.internal, "the session cannot be borrowed", cause: "\(error)")
        }
        if let terms = try? JSONDecoder().decode(SessionTerms.self, from: Data(body.utf8)),
            answer.descriptors.count == 5
        {
            self.terms = terms
            self.answer = answer
            return
        }
        throw Self.failure(body)
    }

    /// Hands a call back that goes on as one of the sandbox's own.
    public func handBack(_ call: CallReturn) throws(ErrorMessage) {
        let line: String
        do throws(SystemError) {
            let request = (try? JSONEncoder().encode(call)) ?? Data()
            try socket.writeAll(Array(request) + [UInt8(ascii: "\n")])
            line = try answer.nextLine(from: socket.raw)
        } catch {
            throw ErrorMessage(.internal, "the connection to the server broke", cause: "\(error)")
        }
        if line != "{}" { throw Self.failure(line) }
    }

    /// Ends the loan.
    public func end() { shutdown(socket.raw, Int32(SHUT_RDWR)) }

    private static func failure(_ line: String) -> ErrorMessage {
        (try? JSONDecoder().decode(ErrorEnvelope.self, from: Data(line.utf8)))?.error
            ?? ErrorMessage(.internal, "the server does not lend a session", cause: line)
    }
}
