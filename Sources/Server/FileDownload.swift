import CMicroHTTPD
import Glibc
import LinuxSystem
import Messages

/// Sends the bytes of an open file as the body of an answer.
final class FileDownload {
    static let blockSize = 256 << 10

    private let file: Descriptor
    private var first: [UInt8]
    private var left: UInt64

    /// The whole of what is to be sent, where that is one block; the rest follows through `readBlock`.
    let whole: [UInt8]?

    /// Opens the file and reads its first block. (The size that stat(2) tells is 0 for the files of /proc.)
    init(_ call: Call) throws(ErrorMessage) {
        let limit = try call.number("limit", UInt64.self) ?? .max
        let opened = try call.engine.openFile(
            call["name"], path: try call.required("path"), offset: try call.number("offset") ?? 0)
        let file = Descriptor(owning: opened)
        var block: [UInt8] = []
        let wanted = Int(min(limit, UInt64(Self.blockSize)))
        var ended = limit == 0
        while block.count < wanted, !ended {
            let piece = try explaining("the file cannot be read") { () throws(SystemError) in
                try file.read(upTo: wanted - block.count)
            }
            block += piece
            ended = piece.isEmpty
        }
        self.file = file
        let isAll = ended || UInt64(block.count) == limit
        whole = isAll ? block : nil
        first = isAll ? [] : block
        left = limit - UInt64(block.count)
    }

    /// MHD_ContentReaderCallback.
    static let readBlock: MHD_ContentReaderCallback = { context, _, buffer, size in
        guard let context, let buffer else { return -2 }
        let download = Unmanaged<FileDownload>.fromOpaque(context).takeUnretainedValue()
        return download.fill(UnsafeMutableRawBufferPointer(start: buffer, count: size))
    }

    /// MHD_ContentReaderFreeCallback.
    static let release: MHD_ContentReaderFreeCallback = { context in
        if let context { Unmanaged<FileDownload>.fromOpaque(context).release() }
    }

    private func fill(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
        if !first.isEmpty {
            let count = min(first.count, buffer.count)
            buffer.copyBytes(from: first[..<count])
            first.removeFirst(count)
            return count
        }
        while true {
            let count = read(file.raw, buffer.baseAddress, Int(min(left, UInt64(buffer.count))))
            if count < 0, errno == EINTR { continue }
            left -= UInt64(max(count, 0))
            return count > 0 ? count : count == 0 ? -1 : -2  // …_END_OF_STREAM, …_END_WITH_ERROR
        }
    }
}
