import CMicroHTTPD
import Glibc
import LinuxSystem
import Messages
import Telemetry

/// What a reader of events asked for.
struct EventReader: Sendable {
    /// The number after which to begin; nil for what is yet to happen.
    let since: UInt64?
    let filter: EventFilter
    /// Whether the stream goes on after what is there already.
    let follows: Bool

    init(_ call: Call) throws(ErrorMessage) {
        since = try call.number("since", UInt64.self)
        var kinds: Set<EventKind> = []
        for word in call.query["kind"]?.split(separator: ",") ?? [] {
            guard let kind = EventKind(rawValue: String(word)) else {
                throw ErrorMessage(
                    .badValue, "there are no events of kind \(word)",
                    hint: EventKind.allCases.map(\.rawValue).joined(separator: ", "))
            }
            kinds.insert(kind)
        }
        filter = EventFilter(sandbox: call.query["sandbox"], kinds: kinds)
        follows = call.query["follow"] == nil ? true : try call.flag("follow")
    }
}

/// The body of an answer that is a stream of events, a line of JSON each.
///
/// It runs on the connection's own thread and holds nothing but a number: a client that does not read stands in
/// nobody's way, is dropped after the time that any client has, and finds out what it missed when it comes back.
final class EventStream {
    static let blockSize = 64 << 10

    private let ring: EventRing
    private let reader: EventReader
    private var last: UInt64
    private var pending: [UInt8] = []
    private var sent = 0
    private var isOver = false
    var connection: OpaquePointer?
    var stallSeconds: UInt32 = 0
    var cancelled = Cancellation.never

    init(_ ring: EventRing, _ reader: EventReader) {
        (self.ring, self.reader) = (ring, reader)
        last = reader.since ?? ring.last
        // An answer begins with its first bytes: the client knows then from where on it misses nothing.
        if reader.follows { pending = [UInt8(ascii: "\n")] }
    }

    /// MHD_ContentReaderCallback: fills the buffer, waiting for something to happen.
    static let readBlock: MHD_ContentReaderCallback = { context, _, buffer, size in
        guard let context, let buffer else { return -2 }
        let stream = Unmanaged<EventStream>.fromOpaque(context).takeUnretainedValue()
        return stream.fill(UnsafeMutableRawBufferPointer(start: buffer, count: size))
    }

    /// MHD_ContentReaderFreeCallback.
    static let release: MHD_ContentReaderFreeCallback = { context in
        if let context { Unmanaged<EventStream>.fromOpaque(context).release() }
    }

    private func fill(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
        ckpt_http_set_timeout(connection, 0)
        defer { ckpt_http_set_timeout(connection, stallSeconds) }
        while sent == pending.count {
            if isOver { return -1 }  // MHD_CONTENT_READER_END_OF_STREAM
            if cancelled.isCancelled { return -2 }  // MHD_CONTENT_READER_END_WITH_ERROR
            (pending, sent) = ([], 0)
            take()
        }
        let count = min(pending.count - sent, buffer.count)
        buffer.copyBytes(from: pending[sent..<sent + count])
        sent += count
        return count
    }

    /// Reads on for a second at most: so often it looks whether the client is still there.
    private func take() {
        let patience: UInt64 = reader.follows ? 1_000_000_000 : 0
        switch ring.read(after: last, until: monotonicNanoseconds() + patience) {
        case .events(let events):
            last = events.last?.id ?? last
            for event in events where reader.filter.admits(event) { add(event) }
        case .missed(let count, let next):
            // Who asks for all there is has missed nothing.
            if last > 0 {
                var event = Event(.missed, id: next, time: realtimeSeconds())
                event.count = count
                event.message = "events after \(last) are no longer kept"
                add(event)
            }
            last = next
        case .nothing: isOver = !reader.follows
        case .closed: isOver = true
        }
    }

    private func add(_ event: Event) { pending += JSONBody.encode(event) + [UInt8(ascii: "\n")] }
}
