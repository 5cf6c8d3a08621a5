public import LinuxSystem
public import Messages
import FoundationEssentials
import Glibc

extension Client {
    /// `GET /v1/sandboxes/{name}/archive`: writes a tar stream of what lies at `path` in the sandbox to
    /// `file`.
    ///
    /// A stream that breaks off in the middle throws; what was written until then stays.
    public func readArchive(
        _ name: String, path: String, owners: Bool = false, to file: borrowing Descriptor
    ) throws(ErrorMessage) {
        try download(archivePath(name, path, owners), to: file)
    }

    /// `PUT /v1/sandboxes/{name}/archive`: unpacks the tar stream from `file` into the directory `path` of
    /// the sandbox.
    @discardableResult
    public func writeArchive(
        _ name: String, path: String, owners: Bool = false, from file: borrowing Descriptor
    ) throws(ErrorMessage) -> ArchiveResult {
        try upload(
            ArchiveResult.self, to: archivePath(name, path, owners), type: "application/x-tar", from: file)
    }

    /// Writes the body of the answer to `file`: to a GET, or to a POST with this JSON.
    func download(
        _ target: String, posting request: [UInt8]? = nil, to file: borrowing Descriptor
    ) throws(ErrorMessage) {
        let file = file.raw
        let result: Result<Done, ErrorMessage> = try attempt(repeatable: false) {
            (connection) throws(TransportError) in
            let method = request == nil ? "GET" : "POST"
            try connection.send(
                Client.head(method, target, bodyLength: request?.count) + (request ?? []))
            let head = try connection.readHead()
            guard head.status == 200 else {
                var body: [UInt8] = []
                try connection.readBody(head) { (piece) throws(TransportError) in body += piece }
                return Reply(
                    result: .failure(Client.failure(head.status, body)), closes: head.closes,
                    retry: head.retry)
            }
            try connection.readBody(head) { (piece) throws(TransportError) in try writeAll(piece, to: file) }
            if let text = connection.trailingError {
                let error =
                    (try? JSONDecoder().decode(ErrorMessage.self, from: Data(text.utf8)))
                    ?? ErrorMessage(.internal, "the server could not go on", cause: text)
                return Reply(result: .failure(error), closes: head.closes, retry: false)
            }
            return Reply(result: .success(Done()), closes: head.closes, retry: false)
        }
        _ = try result.get()
    }

    /// Sends all of `file` as the body of a PUT, or of a request of that method.
    func upload<Answer: Decodable>(
        _ answer: Answer.Type, to target: String, method: String = "PUT", type: String,
        from file: borrowing Descriptor
    ) throws(ErrorMessage) -> Answer {
        let file = file.raw
        let result: Result<Answer, ErrorMessage> = try attempt(repeatable: false) {
            (connection) throws(TransportError) in
            let fields = "Content-Type: \(type)\r\nTransfer-Encoding: chunked\r\n"
            try connection.send(Client.head(method, target, bodyLength: nil, fields: fields))
            try sendChunks(of: file, on: connection)
            return try Client.read(answer, connection)
        }
        return try result.get()
    }

    private func archivePath(_ name: String, _ inside: String, _ owners: Bool) -> String {
        "\(path(name, "archive"))?path=\(Client.encode(inside))" + (owners ? "&owners=true" : "")
    }
}

private func writeAll(_ bytes: ArraySlice<UInt8>, to file: Int32) throws(TransportError) {
    var rest = bytes
    while !rest.isEmpty {
        do throws(SystemError) {
            rest = rest.dropFirst(
                try retrying("write") { rest.withUnsafeBytes { write(file, $0.baseAddress, $0.count) } })
        } catch {
            throw .local(error)
        }
    }
}

/// Sends the rest of `file` as HTTP chunks, the last and empty one included.
private func sendChunks(of file: Int32, on connection: HTTPConnection) throws(TransportError) {
    var block = [UInt8](repeating: 0, count: 256 << 10)
    var count = 0
    repeat {
        do throws(SystemError) {
            count = try retrying("read") { read(file, &block, block.count) }
        } catch {
            throw .local(error)
        }
        let chunk = Array("\(String(count, radix: 16))\r\n".utf8) + block[..<count] + Array("\r\n".utf8)
        do throws(TransportError) {
            try connection.send(chunk)
        } catch {
            // What was read from `file` is gone, and the engine may have unpacked some of it.
            throw .lost(error.message.cause ?? "", untouched: false)
        }
    } while count > 0
}
