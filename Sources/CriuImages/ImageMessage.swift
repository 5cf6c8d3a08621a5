import CCriuImages
import CProtobufC

/// A message's generated `…__unpack`.
typealias Unpack<Message> = (
    UnsafeMutablePointer<ProtobufCAllocator>?, Int, UnsafePointer<UInt8>?
) -> UnsafeMutablePointer<Message>?

/// A message's generated `…__free_unpacked`.
typealias Free<Message> = (UnsafeMutablePointer<Message>?, UnsafeMutablePointer<ProtobufCAllocator>?) -> Void

/// A message's bytes.
func packed<Message>(_ message: inout Message) -> [UInt8] {
    withUnsafeMutablePointer(to: &message) { packed($0) }
}

func packed<Message>(_ message: UnsafeMutablePointer<Message>) -> [UInt8] {
    // Every generated message begins with its ProtobufCMessage.
    UnsafeRawPointer(message).withMemoryRebound(to: ProtobufCMessage.self, capacity: 1) { base in
        [UInt8](unsafeUninitializedCapacity: protobuf_c_message_get_packed_size(base)) { buffer, count in
            count = protobuf_c_message_pack(base, buffer.baseAddress)
        }
    }
}

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

    /// Unpacks the one entry of a file that has exactly one.
    func decodeOnly<Message, Result>(
        _ unpack: Unpack<Message>, _ free: Free<Message>,
        _ body: (UnsafeMutablePointer<Message>) throws(CriuImageError) -> Result
    ) throws(CriuImageError) -> Result {
        _ = try onlyEntry()
        return try decode(0, unpack, free, body)
    }

    /// Unpacks one entry after the other.
    func decodeEach<Message>(
        _ unpack: Unpack<Message>, _ free: Free<Message>,
        _ body: (Int, UnsafeMutablePointer<Message>) throws(CriuImageError) -> Void
    ) throws(CriuImageError) {
        for index in entries.indices {
            try decode(index, unpack, free) { message throws(CriuImageError) in try body(index, message) }
        }
    }

    /// Replaces one entry by what `change` makes of it; fields that are not described stay as they are.
    ///
    /// The message owns its strings and arrays: `change` assigns numbers, and otherwise what malloc(3) has made.
    mutating func edit<Message>(
        _ index: Int, _ unpack: Unpack<Message>, _ free: Free<Message>,
        _ change: (UnsafeMutablePointer<Message>) throws(CriuImageError) -> Void
    ) throws(CriuImageError) {
        entries[index] = try decode(index, unpack, free) { message throws(CriuImageError) in
            try change(message)
            return packed(message)
        }
    }
}

/// The elements of a repeated field of messages; protobuf-c leaves no element out.
func messages<Message>(
    _ first: UnsafeMutablePointer<UnsafeMutablePointer<Message>?>?, _ count: Int
) -> some Sequence<UnsafeMutablePointer<Message>> {
    UnsafeBufferPointer(start: first, count: count).lazy.compactMap { $0 }
}

/// The elements of a repeated field of numbers.
func numbers<Number>(_ first: UnsafeMutablePointer<Number>?, _ count: Int) -> [Number] {
    Array(UnsafeBufferPointer(start: first, count: count))
}

/// A string field; bytes that are no UTF-8 are replaced.
func text(_ field: UnsafeMutablePointer<CChar>?) -> String? { field.map { String(cString: $0) } }

extension ProtobufCBinaryData {
    /// A field of bytes.
    var bytes: [UInt8] { numbers(data, len) }
}
