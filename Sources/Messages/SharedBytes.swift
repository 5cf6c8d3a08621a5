/// Bytes that never change and lie at one place as long as anybody has them: an answer is sent from there.
public final class SharedBytes: @unchecked Sendable {
    // Sendable because nothing writes to the bytes after init.

    /// Valid while this object lives.
    public let bytes: UnsafeRawBufferPointer

    /// Copies an array.
    public init(_ array: [UInt8]) {
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: array.count, alignment: 16)
        room.copyBytes(from: array)
        bytes = UnsafeRawBufferPointer(room)
    }

    deinit { bytes.deallocate() }
}
