import CMicroHTTPD
import Glibc
import LinuxSystem
import Messages

/// Sends what the engine writes into a pipe as the body of an answer.
final class StreamDownload {
    static let blockSize = 64 << 10

    private let source: Descriptor
    private let outcome: Monitor<ErrorMessage??>
    private var first: [UInt8]
    /// Why it broke off, where it did.
    private(set) var failure: ErrorMessage?
    var connection: OpaquePointer?
    /// Borrowed: it lives as long as it is being sent.
    var response: OpaquePointer?
    var stallSeconds: UInt32 = 0

    private init(source: consuming Descriptor, outcome: Monitor<ErrorMessage??>, first: [UInt8]) {
        self.source = source
        self.outcome = outcome
        self.first = first
    }

    /// Begins the stream and waits for its first bytes, so that an early error is still an answer of its own.
    static func start(_ write: @escaping Route.Writer) throws(ErrorMessage) -> StreamDownload {
        let pipe = try Pipe()
        let outcome = Monitor<ErrorMessage??>(nil)
        let number = pipe.writing.release()
        startThread {
            let pipe = Descriptor(owning: number)
            do throws(ErrorMessage) {
                try write(pipe.raw)
                outcome.with(wake: true) { $0 = .some(nil) }
            } catch {
                outcome.with(wake: true) { $0 = .some(error) }
            }
        }
        let reading = pipe.reading
        let first = try explaining("the stream cannot be read") { () throws(SystemError) in
            try reading.read(upTo: blockSize)
        }
        if first.isEmpty, let error = outcome.wait({ $0 }) ?? nil { throw error }
        return StreamDownload(source: reading, outcome: outcome, first: first)
    }

    /// MHD_ContentReaderCallback: fills the buffer, waiting for the engine where it must.
    static let readBlock: MHD_ContentReaderCallback = { context, _, buffer, size in
        guard let context, let buffer else { return -2 }
        let download = Unmanaged<StreamDownload>.fromOpaque(context).takeUnretainedValue()
        return download.fill(UnsafeMutableRawBufferPointer(start: buffer, count: size))
    }

    /// MHD_ContentReaderFreeCallback: closes our end, so that an engine still writing gets EPIPE.
    static let release: MHD_ContentReaderFreeCallback = { context in
        if let context { Unmanaged<StreamDownload>.fromOpaque(context).release() }
    }

    private func fill(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
        if !first.isEmpty {
            let count = min(first.count, buffer.count)
            buffer.copyBytes(from: first[..<count])
            first.removeFirst(count)
            return count
        }
        // The client cannot be blamed for the engine's time.
        ckpt_http_set_timeout(connection, 0)
        defer { ckpt_http_set_timeout(connection, stallSeconds) }
        while true {
            let count = read(source.raw, buffer.baseAddress, buffer.count)
            if count > 0 { return count }
            if count < 0, errno == EINTR { continue }
            guard count == 0 else { return -2 }  // MHD_CONTENT_READER_END_WITH_ERROR
            // The archive has no end marker then; who knows of trailers is told why (RFC 9112, 7.1.2).
            if let error = outcome.wait({ $0 })! {
                failure = error
                let text = String(decoding: JSONBody.encode(error), as: UTF8.self)
                MHD_add_response_footer(response, ArchiveTrailer.error, text)
            }
            return -1  // MHD_CONTENT_READER_END_OF_STREAM
        }
    }
}
