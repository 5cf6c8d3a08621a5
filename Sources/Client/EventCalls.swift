public import Messages
import FoundationEssentials

/// What a server tells of itself.
extension Client {
    /// `GET /v1/events`: hands over events after the number `since` (nil for what is yet to happen), one after the
    /// other, until `take` says no, the server ends, or, without `follow`, all that is kept was told.
    ///
    /// Whoever comes back with the number of the last event misses nothing that the server still keeps; an event of
    /// kind `missed` says so where it does not.
    public func events(
        since: UInt64? = nil, filter: EventFilter = EventFilter(), follow: Bool = true,
        _ take: (Event) throws(ErrorMessage) -> Bool
    ) throws(ErrorMessage) {
        var words = ["follow=\(follow)"]
        if let since { words.append("since=\(since)") }
        if let sandbox = filter.sandbox { words.append("sandbox=\(Client.encode(sandbox))") }
        if !filter.kinds.isEmpty {
            words.append("kind=" + filter.kinds.map(\.rawValue).sorted().joined(separator: ","))
        }
        try lines("/v1/events?\(words.joined(separator: "&"))") { (line) throws(ErrorMessage) in
            guard let event = try? JSONDecoder().decode(Event.self, from: Data(line)) else {
                let text = String(decoding: line.prefix(200), as: UTF8.self)
                throw ErrorMessage(.versionMismatch, "the server told of an unknown event", cause: text)
            }
            return try take(event)
        }
    }

    /// `GET /metrics`, in Prometheus's text format.
    public func metrics() throws(ErrorMessage) -> String {
        var text: [UInt8] = []
        try body("/metrics") { (piece) throws(ErrorMessage) in
            text += piece
            return true
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Hands over the body of a GET line by line, empty ones left out.
    private func lines(
        _ target: String, _ take: (ArraySlice<UInt8>) throws(ErrorMessage) -> Bool
    ) throws(ErrorMessage) {
        var buffer: [UInt8] = []
        try body(target) { (piece) throws(ErrorMessage) in
            buffer += piece
            while let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                let line = buffer[..<end]
                defer { buffer.removeSubrange(...end) }
                if !line.isEmpty, try !take(line) { return false }
            }
            return true
        }
    }

    /// Hands over the body of a GET piece by piece, until `take` says no.
    private func body(
        _ target: String, _ take: (ArraySlice<UInt8>) throws(ErrorMessage) -> Bool
    ) throws(ErrorMessage) {
        var refused: ErrorMessage?
        var isEnough = false
        do throws(ErrorMessage) {
            let result: Result<Done, ErrorMessage> = try attempt(repeatable: false) {
                (connection) throws(TransportError) in
                try connection.send(Client.head("GET", target, bodyLength: nil))
                let head = try connection.readHead()
                var failed: [UInt8] = []
                try connection.readBody(head) { (piece) throws(TransportError) in
                    if head.status != 200 { return failed += piece }
                    do throws(ErrorMessage) { isEnough = try !take(piece) } catch { refused = error }
                    // The connection is of no use to anybody any more.
                    if isEnough || refused != nil { throw .lost("enough", untouched: false) }
                }
                let failure = head.status == 200 ? nil : Client.failure(head.status, failed)
                return Reply(
                    result: failure.map(Result.failure) ?? .success(Done()), closes: head.closes,
                    retry: head.retry)
            }
            _ = try result.get()
        } catch {
            if let refused { throw refused }
            if !isEnough { throw error }
        }
    }
}
