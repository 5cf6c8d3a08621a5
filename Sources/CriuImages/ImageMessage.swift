import CCriuImages
import CProtobufC

/// A message's generated `…__unpack`.
typealias Unpack<Message> = (
    UnsafeMutablePointer<ProtobufCAllocator>?, Int, UnsafePointer<UInt8>?
) -> UnsafeMutablePointer<Message>?

/// A message's generated `…__free_unpacked`.
typealias Free<Message> = (UnsafeMutablePointer<Message>?, UnsafeMutablePointer<ProtobufCAllocator>?) -> Void

extension ImageFile {
    /// Unpacks one entry for the time of `body`; the pointers in the message are valid no longer than that.
    func decode<Message, Result>(
        _ index: Int, _ unpack: Unpack<Message>, _ free: Free<Message>,
        _ body: (UnsafeMutablePointer<Message>) throws(CriuImageError) -> Result
    ) throws(CriuImageError) -> Result {
        let entry = entries[index]
        // The buffer of an empty array may be nil, which protobuf-c would take for a bug of ours.
        let message = (entry + [0]).withUnsafeBufferPointer { unpack(nil, entry.count, $0.baseAddress) }
        guard let message else {
            throw CriuImageError(name, entry: index, "is damaged, or of a format this ckpt does not know")
        }
        defer { free(message, nil) }
        return try body(message)
    }

    /// Replaces one entry by what `change` makes of it; fields that are not described stay as they are.
    ///
    /// `change` may only assign numbers: the message owns its strings and arrays.
    mutating func edit<Message>(
        _ index: Int, _ unpack: Unpack<Message>, _ free: Free<Message>,
        _ change: (UnsafeMutablePointer<Message>) throws(CriuImageError) -> Void
    ) throws(CriuImageError) {
        let packed: [UInt8] = try decode(index, unpack, free) { message throws(CriuImageError) in
            try change(message)
            // Every generated message begins with its ProtobufCMessage.
            return UnsafeRawPointer(message).withMemoryRebound(to: ProtobufCMessage.self, capacity: 1) {
                base in
                [UInt8](unsafeUninitializedCapacity: protobuf_c_message_get_packed_size(base)) {
                    buffer, count in
                    count = protobuf_c_message_pack(base, buffer.baseAddress)
                }
            }
        }
        entries[index] = packed
    }
}
