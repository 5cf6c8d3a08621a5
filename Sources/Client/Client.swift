import Messages
import FoundationEssentials
import Glibc
import LinuxSystem

/// A client of the server of one root, over one connection that is kept.
///
/// It is for one thread at a time; more threads take a client each. The first call connects, starting a
/// server when none listens. Every call throws the server's own `ErrorMessage`, `internal` when the
/// connection broke, and `cancelled` after `interrupter.interrupt()`.
public final class Client {
    /// Where the server is.
    public let endpoint: Endpoint
    /// Breaks the running call off.
    public let interrupter = Interrupter()
    private var kept: HTTPConnection?

    /// A client of the server at `root` (an absolute path), which is this program's `serve` command when
    /// `launch` is not given; nil never starts one.
    public init(root: String, launch: ServerLaunch?) {
        endpoint = Endpoint(root: root, launch: launch)
    }

    /// A client that starts this very program as its server.
    public convenience init(root: String) {
        self.init(root: root, launch: .ownProgram(root: root))
    }

    /// How often the server of one request may be lost: a request that ends its server must not do so for ever.
    static let mostLosses = 5

    // MARK: Calls

    /// Sends a request and reads its JSON answer. `repeatable` requests are sent again after a lost connection.
    func call<Answer: Decodable>(
        _ method: String, _ path: String, body: [UInt8]? = nil, repeatable: Bool = true,
        _ type: Answer.Type = Answer.self
    ) throws(ErrorMessage) -> Answer {
        let result: Result<Answer, ErrorMessage> = try attempt(repeatable: repeatable) {
            (connection) throws(TransportError) in
            try connection.send(Client.head(method, path, bodyLength: body?.count) + (body ?? []))
            return try Client.read(type, connection)
        }
        return try result.get()
    }

    /// Runs `body` on a connection: once, or again where the server did nothing, by its own word or because
    /// it never got the request, or where the connection was lost and `repeatable` allows it: a server may be
    /// replaced more than once while a request runs.
    func attempt<Answer>(
        repeatable: Bool, _ body: (HTTPConnection) throws(TransportError) -> Reply<Answer>
    ) throws(ErrorMessage) -> Result<Answer, ErrorMessage> {
        var losses = 0
        // From a loss on: until then the server takes as long as it takes.
        var deadline: UInt64?
        func hasTime() -> Bool {
            let until = deadline ?? monotonicNanoseconds() + endpoint.patience * 1_000_000
            deadline = until
            return monotonicNanoseconds() < until
        }
        while true {
            let connection = try current()
            kept = nil
            do throws(TransportError) {
                guard interrupter.enter(connection.descriptor) else {
                    throw .lost("interrupted", untouched: true)
                }
                let reply = try body(connection)
                _ = interrupter.leave()
                if !reply.closes { kept = connection }
                guard reply.retry, hasTime() else { return reply.result }
                usleep(10_000)
            } catch {
                if interrupter.leave() { throw ErrorMessage(.cancelled, "interrupted") }
                guard case .lost(_, let untouched) = error else { throw error.message }
                if !untouched { (losses, deadline) = (losses + 1, nil) }
                guard untouched || repeatable && losses <= Self.mostLosses, hasTime() else {
                    throw error.message
                }
            }
        }
    }

    /// One answer, and what becomes of the connection.
    struct Reply<Answer> {
        let result: Result<Answer, ErrorMessage>
        let closes: Bool
        let retry: Bool
    }

    private func current() throws(ErrorMessage) -> HTTPConnection {
        if let kept, kept.isReusable { return kept }
        kept = nil
        return HTTPConnection(try endpoint.connect())
    }

    // MARK: Messages

    static func head(_ method: String, _ path: String, bodyLength: Int?, fields: String = "") -> [UInt8] {
        var text = "\(method) \(path) HTTP/1.1\r\nHost: ckpt\r\n\(fields)"
        if let bodyLength {
            text += "Content-Type: application/json\r\nContent-Length: \(bodyLength)\r\n"
        } else if method == "POST" && fields.isEmpty {
            text += "Content-Length: 0\r\n"
        }
        return Array("\(text)\r\n".utf8)
    }

    static func read<Answer: Decodable>(
        _ type: Answer.Type, _ connection: HTTPConnection
    ) throws(TransportError) -> Reply<Answer> {
        let head = try connection.readHead()
        var body: [UInt8] = []
        try connection.readBody(head) { (piece) throws(TransportError) in body += piece }
        let result: Result<Answer, ErrorMessage>
        if head.status != 200 {
            result = .failure(failure(head.status, body))
        } else if let answer = try? JSONDecoder().decode(type, from: Data(body)) {
            result = .success(answer)
        } else {
            throw .violation("no \(type) in \(String(decoding: body.prefix(200), as: UTF8.self))")
        }
        return Reply(result: result, closes: head.closes, retry: head.retry)
    }

    /// The error in an answer that is no success.
    static func failure(_ status: Int, _ body: [UInt8]) -> ErrorMessage {
        if let envelope = try? JSONDecoder().decode(ErrorEnvelope.self, from: Data(body)) {
            return envelope.error
        }
        let text = String(decoding: body.prefix(200), as: UTF8.self)
        return ErrorMessage(.internal, "the server answered with status \(status)", cause: text)
    }

    static func encode(_ value: some Encodable) throws(ErrorMessage) -> [UInt8] {
        do {
            return Array(try JSONEncoder().encode(value))
        } catch {
            throw ErrorMessage(.badValue, "the request cannot be written as JSON", cause: "\(error)")
        }
    }

    /// A path segment or query value, with everything but RFC 3986's unreserved characters as `%XX`.
    static func encode(_ text: String) -> String {
        var encoded = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
                UInt8(ascii: "_"), UInt8(ascii: "~"):
                encoded.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                encoded += digits.utf8.count == 1 ? "%0\(digits)" : "%\(digits)"
            }
        }
        return encoded
    }
}
