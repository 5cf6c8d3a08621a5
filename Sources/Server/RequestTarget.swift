import Messages

/// The path and query of a request line, decoded after they were taken apart.
///
/// A reference may contain any byte, `/` and `~` included, as `%XX`; so the path is split first.
struct RequestTarget: Sendable {
    /// The path's segments, without empty ones at the front.
    let segments: [String]
    let query: [String: String]

    /// Reads a target in origin form, `/path?key=value&…`, or in the absolute form that goes to proxies,
    /// whose authority means nothing here (RFC 9112, 3.2.2 asks servers to take both).
    init(_ target: String) throws(ErrorMessage) {
        var target = target[...]
        if target.hasPrefix("http://") {
            target = target.dropFirst("http://".count).drop { $0 != "/" }
        }
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts[0].utf8.first == UInt8(ascii: "/") else {
            throw ErrorMessage(.badRequest, "the request's path does not start with /")
        }
        var segments: [String] = []
        for segment in parts[0].dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
            segments.append(try RequestTarget.decode(segment))
        }
        var query: [String: String] = [:]
        for pair in parts.count > 1 ? parts[1].split(separator: "&") : [] {
            let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let key = try RequestTarget.decode(sides[0])
            guard query[key] == nil else {
                throw ErrorMessage(.badRequest, "query parameter \(key) is given twice")
            }
            query[key] = sides.count > 1 ? try RequestTarget.decode(sides[1]) : ""
        }
        self.segments = segments
        self.query = query
    }

    /// Undoes percent encoding; `+` stays what it is (RFC 3986, not HTML forms).
    static func decode(_ text: Substring) throws(ErrorMessage) -> String {
        guard text.utf8.contains(UInt8(ascii: "%")) else { return String(text) }
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = hexDigit(rest.popFirst()), let low = hexDigit(rest.popFirst()) else {
                throw ErrorMessage(.badRequest, "a % in the request's path is not followed by two hex digits")
            }
            bytes.append(high << 4 | low)
        }
        guard let decoded = String(validating: bytes, as: UTF8.self), !bytes.contains(0) else {
            throw ErrorMessage(.badRequest, "the request's path is no UTF-8 text")
        }
        return decoded
    }

    private static func hexDigit(_ byte: UInt8?) -> UInt8? {
        switch byte {
        case .some(UInt8(ascii: "0")...UInt8(ascii: "9")): byte! - UInt8(ascii: "0")
        case .some(UInt8(ascii: "a")...UInt8(ascii: "f")): byte! - UInt8(ascii: "a") + 10
        case .some(UInt8(ascii: "A")...UInt8(ascii: "F")): byte! - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
