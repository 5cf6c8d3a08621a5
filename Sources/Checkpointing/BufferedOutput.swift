import Messages

/// What a command has printed so far.
struct BufferedOutput {
    /// How much longer JSON may make a text, in bytes: a zero byte takes six, and an answer is held several times over.
    static let mostEscapes = 16 << 20

    /// PID 1 keeps up to so much of a stream, in bytes: whoever asks for the command once more, of another server
    /// perhaps, gets it from the start. That is half of what its ring holds.
    private static let leftWithInit: UInt64 = 32768

    private var stdout: [UInt8] = []
    private var stderr: [UInt8] = []
    private var ends: [OutputStream: UInt64]
    private var acknowledged: [OutputStream: UInt64]
    /// A server before this one took a part of it, and ended.
    private var hasGap = false

    /// Nothing yet; the first bytes of each stream that are asked for lie at `offsets`.
    init(from offsets: [OutputStream: UInt64]) { (ends, acknowledged) = (offsets, offsets) }

    /// Returns how far to acknowledge it; nil not at all yet.
    mutating func take(_ stream: OutputStream, offset: UInt64, _ bytes: [UInt8]) -> UInt64? {
        switch stream {
        case .stdout: stdout += bytes
        case .stderr: stderr += bytes
        }
        if offset > ends[stream, default: 0] { hasGap = true }
        let end = offset + UInt64(bytes.count)
        ends[stream] = end
        let known = acknowledged[stream, default: 0]
        guard end > known, end - known >= Self.leftWithInit else { return nil }
        acknowledged[stream] = end
        return end
    }

    func put(into result: ExecResult) -> ExecResult {
        var result = result
        if hasGap { result.truncated = true }
        result.stdout = Self.text(stdout)
        result.stderr = Self.text(stderr)
        if result.stdout == nil { result.stdoutBase64 = encodeBase64(stdout) }
        if result.stderr == nil { result.stderrBase64 = encodeBase64(stderr) }
        return result
    }

    /// The bytes as text, if they are UTF-8 and JSON does not make too much of them.
    static func text(_ bytes: [UInt8]) -> String? {
        bytes.count * 5 > mostEscapes && escapes(bytes) > mostEscapes
            ? nil : String(validating: bytes, as: UTF8.self)
    }

    /// The bytes that JSON adds to a text.
    static func escapes(_ bytes: [UInt8]) -> Int {
        var sum = 0
        bytes.withUnsafeBufferPointer { bytes in
            for byte in bytes {
                switch byte {
                case 8, 9, 10, 12, 13, UInt8(ascii: "\""), UInt8(ascii: "\\"): sum += 1
                case 0..<32: sum += 5
                default: break
                }
            }
        }
        return sum
    }
}
