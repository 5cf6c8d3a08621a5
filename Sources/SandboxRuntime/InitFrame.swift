import CLinux

/// The frames between the server and ckpt-init, as `ckpt_init_protocol.h` lays them out.
enum InitFrame {
    /// Bytes of a header.
    static let headerSize = MemoryLayout<ckpt_frame>.size
    /// The largest payload PID 1 sends; more is a sign of a broken peer.
    static let maximumPayload = 1 << 20

    /// A whole frame.
    static func encode(
        _ type: Int, tag: UInt32 = 0, stream: Int = 0, value: UInt32 = 0, offset: UInt64 = 0,
        payload: some Collection<UInt8> = []
    ) -> [UInt8] {
        var header = ckpt_frame()
        header.length = UInt32(payload.count)
        header.type = UInt16(type)
        header.stream = UInt16(stream)
        header.tag = tag
        header.value = value
        header.offset = offset
        var bytes = bytes(of: header)
        bytes += payload
        return bytes
    }

    /// The bytes of a C structure.
    static func bytes<Value: BitwiseCopyable>(of value: Value) -> [UInt8] {
        withUnsafeBytes(of: value) { Array($0) }
    }

    /// A SPAWN frame.
    static func spawn(_ spec: CommandSpec, tag: UInt32, from: (UInt64, UInt64)) -> [UInt8] {
        encode(CKPT_SPAWN, tag: tag, payload: launch(spec, from: from))
    }

    /// A PREPARE frame.
    static func prepare(_ spec: CommandSpec) -> [UInt8] {
        encode(CKPT_PREPARE, payload: launch(spec, from: (0, 0)))
    }

    private static func launch(_ spec: CommandSpec, from: (UInt64, UInt64)) -> [UInt8] {
        var head = ckpt_spawn()
        head.flags = UInt32(spec.flags)
        head.uid = spec.user.uid
        head.gid = spec.user.gid
        head.groups = UInt32(spec.user.groups.count)
        head.argc = UInt32(spec.arguments.count)
        head.envc = UInt32(spec.environment.count)
        if let terminal = spec.terminal {
            head.rows = terminal.rows
            head.columns = terminal.columns
        }
        head.timeout_ms = spec.timeoutMilliseconds ?? 0
        head.from = from
        var payload = bytes(of: head)
        for group in spec.user.groups { payload += bytes(of: group) }
        for text in [spec.id, spec.session ?? "", spec.workingDirectory] + spec.arguments + spec.environment {
            payload += text.utf8
            payload.append(0)
        }
        return payload
    }

    /// An ATTACH frame.
    static func attach(id: String, tag: UInt32, from: (UInt64, UInt64)) -> [UInt8] {
        encode(CKPT_ATTACH, tag: tag, payload: bytes(of: ckpt_attach(from: from)) + Array(id.utf8))
    }
}

extension InitFrame {
    /// No stream gets this far, so what counts bytes can be added to; who says otherwise lies.
    static let endOfStreams: UInt64 = 1 << 62
}

/// Splits what comes from PID 1 into frames.
struct InitFrameReader {
    private var buffer: [UInt8] = []
    private var start = 0

    /// Takes bytes in.
    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        if start == buffer.count {
            buffer.removeAll(keepingCapacity: true)
            start = 0
        }
        buffer += bytes
    }

    /// The next whole frame: its header and its payload.
    mutating func next() throws(CommandError) -> (ckpt_frame, [UInt8])? {
        guard buffer.count - start >= InitFrame.headerSize else { return nil }
        let from = start
        let header = buffer.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: from, as: ckpt_frame.self) }
        let end = start + InitFrame.headerSize + Int(header.length)
        guard Int(header.length) <= InitFrame.maximumPayload, header.offset < InitFrame.endOfStreams else {
            throw .garbage
        }
        guard buffer.count >= end else {
            // Keeps a partial frame from pushing the buffer along for ever.
            buffer.removeSubrange(..<start)
            start = 0
            return nil
        }
        let payload = Array(buffer[(start + InitFrame.headerSize)..<end])
        start = end
        return (header, payload)
    }
}

extension [UInt8] {
    /// The C structure whose bytes these are.
    func structure<Value: BitwiseCopyable>(_ type: Value.Type) throws(CommandError) -> Value {
        guard count == MemoryLayout<Value>.size else { throw .garbage }
        return withUnsafeBytes { $0.loadUnaligned(as: type) }
    }
}

/// The text of a C character array, up to its first NUL.
func text<Characters: BitwiseCopyable>(_ characters: Characters) -> String {
    withUnsafeBytes(of: characters) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
}
