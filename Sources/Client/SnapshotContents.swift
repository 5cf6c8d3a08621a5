public import Messages

/// The calls that look into snapshots.
extension Client {
    /// `GET /v1/snapshots/{ref}/inspect`.
    public func inspect(
        _ reference: String, _ request: InspectRequest = InspectRequest()
    ) throws(ErrorMessage) -> Inspection {
        var query = request.pid.map { ["pid=\($0)"] } ?? []
        let parts = [
            ("files", request.files), ("sockets", request.sockets), ("memory", request.memory),
            ("environment", request.environment), ("registers", request.registers),
        ]
        query += parts.filter(\.1).map { "\($0.0)=true" }
        return try call("GET", contents(reference, "inspect", query))
    }

    /// `GET /v1/snapshots/{ref}/memory`.
    public func memory(_ reference: String, pid: Int) throws(ErrorMessage) -> MemoryListing {
        try call("GET", contents(reference, "memory", ["pid=\(pid)"]))
    }

    /// `GET /v1/snapshots/{ref}/memory/bytes`: at most `MemoryReadRequest.most` bytes of what was asked for.
    public func readMemory(
        _ reference: String, _ request: MemoryReadRequest
    ) throws(ErrorMessage) -> MemoryPiece {
        let query = ["pid=\(request.pid)", "address=\(request.address)", "length=\(request.length)"]
        return try call("GET", contents(reference, "memory/bytes", query))
    }

    /// `GET /v1/snapshots/{ref}/memory/search`.
    public func searchMemory(
        _ reference: String, _ request: MemorySearchRequest
    ) throws(ErrorMessage) -> MemoryMatches {
        let pattern =
            switch request.pattern {
            case .bytes(let bytes): "hex=\(Client.hexDigits(bytes))"
            case .expression(let text): "regex=\(Client.encode(text))"
            }
        let query = ["pid=\(request.pid)", pattern, "limit=\(request.limit)"]
        return try call("GET", contents(reference, "memory/search", query))
    }

    /// `GET /v1/diff`.
    public func diff(_ request: DiffRequest) throws(ErrorMessage) -> SnapshotDiff {
        let ends = "from=\(Client.encode(request.from))&to=\(Client.encode(request.to))"
        return try call("GET", "/v1/diff?\(ends)" + (request.patch ? "&patch=true" : ""))
    }

    func contents(_ reference: String, _ what: String, _ query: [String]) -> String {
        "/v1/snapshots/\(Client.encode(reference))/\(what)"
            + (query.isEmpty ? "" : "?" + query.joined(separator: "&"))
    }

    private static func hexDigits(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
