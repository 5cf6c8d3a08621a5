import FoundationEssentials
import Glibc
import LinuxSystem
import Messages

/// A keep-alive connection to a server that adds as little as can be to what it measures: requests are made
/// beforehand and sent by one call, answers read by one where they come whole, and looked into afterwards.
final class TightConnection {
    /// Room for the list of a large tree; pages that are never touched cost nothing.
    private static let room = 64 << 20

    let root: String
    private let socket: Descriptor
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: room, alignment: 16)
    private var length = 0
    private var bodyStart = 0
    /// Whether it goes on after Ctrl-C, to clear away.
    var isClearing = false

    /// Connects to the server of a root.
    init(root: String) throws(ErrorMessage) {
        self.root = root
        do throws(SystemError) {
            let directory = try Descriptor.open(root, O_PATH | O_DIRECTORY)
            socket = try UnixSocket.connect("server.sock", in: directory, at: root)
        } catch {
            throw ErrorMessage(.internal, "cannot connect to the server", cause: "\(error)")
        }
    }

    deinit { buffer.deallocate() }

    /// The bytes of a request.
    static func request(_ method: String, _ path: String, _ body: [UInt8]? = nil) -> [UInt8] {
        var head = "\(method) \(path) HTTP/1.1\r\nHost: ckpt\r\n"
        if body != nil || method != "GET" {
            head += "Content-Type: application/json\r\nContent-Length: \(body?.count ?? 0)\r\n"
        }
        return Array("\(head)\r\n".utf8) + (body ?? [])
    }

    /// The same with a value as JSON.
    static func request(_ method: String, _ path: String, json value: some Encodable) -> [UInt8] {
        request(method, path, [UInt8]((try? JSONEncoder().encode(value)) ?? Data()))
    }

    /// Sends a request and reads the answer, which must be a success; the milliseconds that took.
    @discardableResult
    func exchange(_ request: [UInt8]) throws(ErrorMessage) -> Double {
        if !isClearing { try Interruption.check() }
        let began = monotonicNanoseconds()
        do throws(SystemError) {
            let sent = try retrying("send") {
                send(socket.raw, request, request.count, Int32(MSG_NOSIGNAL))
            }
            guard sent == request.count else { throw SystemError(call: "send", code: EAGAIN) }
            length = 0
            repeat { try receive() } while !isWhole
        } catch {
            throw ErrorMessage(.internal, "the connection to the server broke", cause: "\(error)")
        }
        let took = Double(monotonicNanoseconds() - began) / 1e6
        guard buffer[9] == UInt8(ascii: "2") else { throw failure(request) }
        return took
    }

    /// Reads the body of the last answer.
    func decode<Value: Decodable>(_ type: Value.Type) throws(ErrorMessage) -> Value {
        let body = Data(buffer[bodyStart..<length])
        guard let value = try? JSONDecoder().decode(type, from: body) else {
            throw ErrorMessage(.internal, "the server answered with something else than \(type)")
        }
        return value
    }

    /// Whether the body of the last answer has this text in it.
    func answerHas(_ text: StaticString) -> Bool {
        memmem(
            buffer.baseAddress! + bodyStart, length - bodyStart, text.utf8Start, text.utf8CodeUnitCount)
            != nil
    }

    private func receive() throws(SystemError) {
        // recv(2) alone would be woken up by the server's reading of the request as well.
        var ready = pollfd(fd: socket.raw, events: Int16(POLLIN), revents: 0)
        // A server that does not answer must not hold us for ever.
        if poll(&ready, 1, 300_000) == 0 { throw SystemError(call: "recv", code: ETIMEDOUT) }
        let (at, room) = (buffer.baseAddress! + length, buffer.count - length)
        let count = try retrying("recv") { recv(socket.raw, at, room, 0) }
        guard count > 0 else { throw SystemError(call: "recv", code: ECONNRESET) }
        length += count
    }

    /// Whether the buffer holds all of an answer: a head and as much as it says, or chunks to the last.
    private var isWhole: Bool {
        guard let end = memmem(buffer.baseAddress!, length, "\r\n\r\n", 4) else { return false }
        bodyStart = end - UnsafeMutableRawPointer(buffer.baseAddress!) + 4
        let head = UnsafeRawBufferPointer(rebasing: buffer[..<bodyStart])
        if let size = Self.contentLength(head) { return length >= bodyStart + size }
        return length >= bodyStart + 5 && memcmp(buffer.baseAddress! + length - 5, "0\r\n\r\n", 5) == 0
    }

    private static func contentLength(_ head: UnsafeRawBufferPointer) -> Int? {
        guard let field = strcasestr(head.baseAddress!.assumingMemoryBound(to: CChar.self), "content-length:")
        else { return nil }
        guard UnsafeRawPointer(field) < head.baseAddress! + head.count else { return nil }
        return strtol(field + 15, nil, 10)
    }

    private func failure(_ request: [UInt8]) -> ErrorMessage {
        let line = String(decoding: request.prefix { $0 != UInt8(ascii: "\r") }, as: UTF8.self)
        if var error = try? decode(ErrorEnvelope.self).error {
            error.message = "\(line): \(error.message)"
            return error
        }
        return ErrorMessage(.internal, "\(line): the server answered with an error")
    }
}
