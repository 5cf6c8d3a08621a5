import Glibc
import LinuxSystem
import Messages

/// One HTTP/1.1 connection, seen from the client: one request after the other, strictly.
final class HTTPConnection {
    private static let readSize = 64 << 10
    private static let headLimit = 64 << 10

    private let socket: Descriptor
    private var buffer: [UInt8] = []
    private var start = 0
    /// What the server said after the body, where that is not whole.
    private(set) var trailingError: String?
    /// Whether anything of the current answer has arrived.
    private var answered = false

    /// Speaks on a connected socket.
    init(_ socket: consuming Descriptor) { self.socket = socket }

    var descriptor: Int32 { socket.raw }

    /// Whether an idle connection can take another request: nothing unasked came, nobody hung up.
    var isReusable: Bool {
        var entry = pollfd(fd: socket.raw, events: Int16(POLLIN) | Int16(POLLRDHUP), revents: 0)
        return start == buffer.count && poll(&entry, 1, 0) == 0
    }

    /// Takes the socket and what was read beyond the answer out, for another protocol.
    func upgrade() throws(TransportError) -> (socket: Int32, received: [UInt8]) {
        do throws(SystemError) {
            return (try socket.duplicate().release(), Array(buffer[start...]))
        } catch {
            throw .lost("\(error)", untouched: false)
        }
    }

    // MARK: Sending

    /// Sends all of `bytes`.
    func send(_ bytes: [UInt8]) throws(TransportError) {
        answered = false
        trailingError = nil
        do throws(SystemError) {
            try socket.sendAll(bytes)
        } catch {
            // Not all of it was taken, and the server acts on whole requests only.
            throw .lost("\(error)", untouched: true)
        }
    }

    // MARK: Receiving

    /// Reads the status line and the header fields.
    func readHead() throws(TransportError) -> ResponseHead {
        var lines: [String] = []
        var size = 0
        while true {
            let line = try readLine()
            size += line.utf8.count
            guard size <= HTTPConnection.headLimit else { throw .violation("the header is too long") }
            if !line.isEmpty {
                lines.append(line)
            } else if lines.isEmpty {
                throw .violation("the answer starts with an empty line")
            } else {
                let head = try ResponseHead(lines)
                if head.status == 100 {
                    lines = []
                } else {
                    return head
                }
            }
        }
    }

    /// Reads a body to its end, handing it over in pieces.
    func readBody(
        _ head: ResponseHead, _ take: (ArraySlice<UInt8>) throws(TransportError) -> Void
    ) throws(TransportError) {
        switch head.body {
        case .length(let length): try readBytes(length, take)
        case .chunked:
            while true {
                let size = try chunkSize(try readLine())
                if size == 0 { break }
                try readBytes(size, take)
                guard try readLine().isEmpty else { throw .violation("a chunk is longer than it said") }
            }
            // Trailer fields, if any, up to the empty line.
            while true {
                let line = try readLine()
                if line.isEmpty { break }
                let parts = line.split(separator: ":", maxSplits: 1)
                if parts.count == 2, parts[0].lowercased() == ArchiveTrailer.error.lowercased() {
                    trailingError = String(parts[1])
                }
            }
        }
    }

    private func chunkSize(_ line: String) throws(TransportError) -> Int {
        let digits = line.prefix { $0 != ";" }
        guard (1...15).contains(digits.utf8.count), digits.allSatisfy(\.isHexDigit),
            let size = Int(digits, radix: 16)
        else { throw .violation("\(line.debugDescription) is no chunk size") }
        return size
    }

    private func readBytes(
        _ count: Int, _ take: (ArraySlice<UInt8>) throws(TransportError) -> Void
    ) throws(TransportError) {
        var left = count
        while left > 0 {
            if start == buffer.count { try fill() }
            let piece = buffer[start..<min(buffer.count, start + left)]
            try take(piece)
            start += piece.count
            left -= piece.count
        }
    }

    private func readLine() throws(TransportError) -> String {
        var scanned = start
        while true {
            if let end = buffer[scanned...].firstIndex(of: UInt8(ascii: "\n")) {
                guard end > start, buffer[end - 1] == UInt8(ascii: "\r") else {
                    throw .violation("a header line does not end with CR LF")
                }
                defer { start = end + 1 }
                return String(decoding: buffer[start..<end - 1], as: UTF8.self)
            }
            guard buffer.count - start <= HTTPConnection.headLimit else {
                throw .violation("a header line is too long")
            }
            let seen = buffer.count - start
            try fill()
            scanned = start + seen
        }
    }

    private func fill() throws(TransportError) {
        let bytes: [UInt8]
        do throws(SystemError) {
            bytes = try socket.read(upTo: HTTPConnection.readSize)
        } catch {
            // The kernel says so when the other side closed without having read everything (unix(7)).
            throw .lost("\(error)", untouched: error.code == ECONNRESET && !answered)
        }
        guard !bytes.isEmpty else { throw .lost("the server closed it", untouched: false) }
        answered = true
        if start == buffer.count {
            buffer = bytes
        } else {
            buffer.removeSubrange(..<start)
            buffer += bytes
        }
        start = 0
    }
}

extension Descriptor {
    /// Sends all of `bytes` on a socket, without SIGPIPE when the other side is gone.
    borrowing func sendAll(_ bytes: [UInt8]) throws(SystemError) {
        try sendAllBytes(bytes, on: raw)
    }
}

/// Sends all of `bytes` on a socket, without SIGPIPE when the other side is gone (send(2), MSG_NOSIGNAL).
func sendAllBytes(_ bytes: [UInt8], on socket: Int32) throws(SystemError) {
    var sent = 0
    while sent < bytes.count {
        let from = sent
        sent += try retrying("send") {
            bytes.withUnsafeBytes {
                Glibc.send(socket, $0.baseAddress! + from, bytes.count - from, Int32(MSG_NOSIGNAL))
            }
        }
    }
}
