/// The status line and header fields of an answer.
struct ResponseHead {
    /// How far the body goes.
    enum Body {
        case length(Int)
        case chunked
    }
    let status: Int
    let body: Body
    /// Whether the connection ends with this answer.
    let closes: Bool
    /// Whether the server says that it did nothing and wants the request again.
    let retry: Bool

    /// Reads the lines before the empty one; exactly one of the two body lengths must be there, except for
    /// the statuses that have no body.
    init(_ lines: [String]) throws(TransportError) {
        let parts = lines[0].split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count >= 2, parts[0] == "HTTP/1.1", parts[1].utf8.count == 3, let status = Int(parts[1]),
            (100...599).contains(status)
        else { throw .violation("the status line is \(lines[0].debugDescription)") }
        var fields: [String: String] = [:]
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":"), colon != line.startIndex else {
                throw .violation("a header line is \(line.debugDescription)")
            }
            let name = line[..<colon].lowercased()
            let value = line[line.index(after: colon)...].trimmingSpaces()
            guard fields.updateValue(value, forKey: name) == nil || name != "content-length" else {
                throw .violation("two content lengths")
            }
        }
        self.status = status
        closes = fields["connection"]?.lowercased() == "close"
        retry = status == 503 && fields["retry-after"] != nil
        body = try ResponseHead.body(status, fields["content-length"], fields["transfer-encoding"])
    }

    private static func body(
        _ status: Int, _ length: String?, _ encoding: String?
    ) throws(TransportError) -> Body {
        if status < 200 || status == 204 || status == 304 { return .length(0) }
        switch (length, encoding?.lowercased()) {
        case (nil, "chunked"): return .chunked
        case (let length?, nil):
            guard (1...18).contains(length.utf8.count), length.utf8.allSatisfy({ (48...57).contains($0) })
            else { throw .violation("the content length is \(length.debugDescription)") }
            return .length(Int(length)!)
        default: throw .violation("the body's length is not clear")
        }
    }
}

extension Substring {
    fileprivate func trimmingSpaces() -> String {
        let isSpace: (Character) -> Bool = { $0 == " " || $0 == "\t" }
        let front = drop(while: isSpace)
        return String(
            front[..<(front.lastIndex { !isSpace($0) }.map(front.index(after:)) ?? front.startIndex)])
    }
}
