/// One frame as it was received; what its type byte means depends on who sent it.
public struct ReceivedFrame: Sendable {
    public let type: UInt8
    public let payload: ArraySlice<UInt8>

    /// The offset before the bytes of a `stdin`, `stdout`, `stderr` or `stdinAck` frame, and those bytes.
    public func offsetAndBytes() throws(ErrorMessage) -> (offset: UInt64, bytes: ArraySlice<UInt8>) {
        guard payload.count >= 8 else { throw ExecFrame.broken("shorter than its offset") }
        let offset = payload.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return (offset, payload.dropFirst(8))
    }

    /// The signal number of a `signal` frame.
    public func signalNumber() throws(ErrorMessage) -> Int32 {
        guard payload.count == 4 else { throw ExecFrame.broken("a signal is 4 bytes") }
        return Int32(bitPattern: payload.reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
    }

    /// Rows and columns of a `resize` frame, in characters.
    public func terminalSize() throws(ErrorMessage) -> (rows: UInt16, columns: UInt16) {
        guard payload.count == 4 else { throw ExecFrame.broken("a terminal's size is 4 bytes") }
        let both = payload.reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return (UInt16(both >> 16), UInt16(both & 0xffff))
    }
}

extension ExecFrame {
    /// The most stream bytes that are put into one frame; larger output travels in several.
    public static let streamChunk = 256 << 10

    /// A frame with a payload as it is.
    public static func encode(_ type: UInt8, _ payload: some Collection<UInt8>) -> [UInt8] {
        precondition(payload.count <= maximumPayload, "a frame's payload is at most 1 MiB")
        var frame: [UInt8] = []
        frame.reserveCapacity(5 + payload.count)
        frame.appendBigEndian(UInt32(payload.count))
        frame.append(type)
        frame += payload
        return frame
    }

    /// A frame that carries stream bytes, the first of them at `offset`, or only an offset.
    public static func encode(_ type: UInt8, offset: UInt64, _ bytes: some Collection<UInt8>) -> [UInt8] {
        precondition(bytes.count + 8 <= maximumPayload, "a frame's payload is at most 1 MiB")
        var frame: [UInt8] = []
        frame.reserveCapacity(13 + bytes.count)
        frame.appendBigEndian(UInt32(bytes.count + 8))
        frame.append(type)
        frame.appendBigEndian(offset)
        frame += bytes
        return frame
    }

    /// A `signal` frame.
    public static func signal(_ number: Int32) -> [UInt8] {
        var payload: [UInt8] = []
        payload.appendBigEndian(UInt32(bitPattern: number))
        return encode(FromClient.signal.rawValue, payload)
    }

    /// A `resize` frame; rows and columns are in characters.
    public static func resize(rows: UInt16, columns: UInt16) -> [UInt8] {
        var payload: [UInt8] = []
        payload.appendBigEndian(rows)
        payload.appendBigEndian(columns)
        return encode(FromClient.resize.rawValue, payload)
    }

    static func broken(_ how: String) -> ErrorMessage {
        ErrorMessage(.badRequest, "a frame of the exec stream is broken", cause: how)
    }
}

/// Cuts a stream of bytes into frames.
public struct ExecFrameDecoder: Sendable {
    private var buffer: [UInt8]
    private var start = 0

    /// A decoder that has already received `bytes`.
    public init(_ bytes: [UInt8] = []) { buffer = bytes }

    /// Adds bytes as they came from the socket.
    public mutating func append(_ bytes: [UInt8]) {
        if start == buffer.count {
            buffer = bytes
        } else {
            buffer.removeSubrange(..<start)
            buffer += bytes
        }
        start = 0
    }

    /// The next whole frame; nil when more bytes are needed.
    ///
    /// Throws `badRequest` for a frame longer than `ExecFrame.maximumPayload`.
    public mutating func next() throws(ErrorMessage) -> ReceivedFrame? {
        guard buffer.count - start >= 5 else { return nil }
        let length = buffer[start..<start + 4].reduce(0) { $0 << 8 | Int($1) }
        guard length <= ExecFrame.maximumPayload else { throw ExecFrame.broken("\(length) bytes long") }
        guard buffer.count - start >= 5 + length else { return nil }
        let first = start + 5
        start = first + length
        return ReceivedFrame(type: buffer[first - 1], payload: buffer[first..<start])
    }
}

extension [UInt8] {
    fileprivate mutating func appendBigEndian(_ number: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: number.bigEndian) { append(contentsOf: $0) }
    }
}
