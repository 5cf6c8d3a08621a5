import Messages

extension Router {
    /// Routes that look into snapshots.
    static let snapshotContents: [Route] = [
        .plain(
            "GET", "/v1/snapshots/{ref}/inspect", "inspectSnapshot",
            query: ["pid", "files", "sockets", "memory", "environment", "registers"], gives: Inspection.self
        ) { (call) throws(ErrorMessage) in
            let request = InspectRequest(
                pid: try call.integer("pid"), files: try call.flag("files"),
                sockets: try call.flag("sockets"),
                memory: try call.flag("memory"), environment: try call.flag("environment"),
                registers: try call.flag("registers"))
            return try call.engine.inspect(call["ref"], request)
        },
        .plain("GET", "/v1/snapshots/{ref}/memory", "listMemory", query: ["pid"], gives: MemoryListing.self) {
            (call) throws(ErrorMessage) in
            try call.engine.memory(call["ref"], pid: try call.requiredInteger("pid"))
        },
        .plain(
            "GET", "/v1/snapshots/{ref}/memory/bytes", "readMemory", query: ["pid", "address", "length"],
            gives: MemoryPiece.self
        ) { (call) throws(ErrorMessage) in
            let request = MemoryReadRequest(
                pid: try call.requiredInteger("pid"), address: try call.address("address"),
                length: try call.requiredInteger("length"))
            return try call.engine.readMemory(call["ref"], request)
        },
        .plain(
            "GET", "/v1/snapshots/{ref}/memory/search", "searchMemory",
            query: ["pid", "text", "hex", "regex", "limit"], gives: MemoryMatches.self
        ) { (call) throws(ErrorMessage) in
            let request = MemorySearchRequest(
                pid: try call.requiredInteger("pid"), pattern: try call.pattern(),
                limit: try call.integer("limit") ?? 100)
            return try call.engine.searchMemory(call["ref"], request)
        },
        .plain("GET", "/v1/diff", "diffSnapshots", query: ["from", "to", "patch"], gives: SnapshotDiff.self) {
            (call) throws(ErrorMessage) in
            try call.engine.diff(
                DiffRequest(
                    from: try call.required("from"), to: try call.required("to"),
                    patch: try call.flag("patch")))
        },
    ]
}

extension Call {
    /// A query parameter that is a whole number; nil where it is missing.
    func integer(_ name: String) throws(ErrorMessage) -> Int? {
        guard let text = query[name] else { return nil }
        guard let number = Int(text) else {
            throw ErrorMessage(.badValue, "query parameter \(name) is \(text)", hint: "use a whole number")
        }
        return number
    }

    /// The same for one that must be there.
    func requiredInteger(_ name: String) throws(ErrorMessage) -> Int {
        _ = try required(name)
        return try integer(name)!
    }

    /// A query parameter that is an address.
    func address(_ name: String) throws(ErrorMessage) -> UInt64 {
        let text = try required(name)
        guard let address = parseAddress(text) else {
            throw ErrorMessage(
                .badValue, "query parameter \(name) is \(text)", hint: "use a number, 0x… in hexadecimal")
        }
        return address
    }

    /// What is searched for: exactly one of `text`, `hex` and `regex`.
    func pattern() throws(ErrorMessage) -> MemorySearchRequest.Pattern {
        let given = ["text", "hex", "regex"].filter { query[$0] != nil }
        guard given.count == 1, let value = query[given[0]] else {
            throw ErrorMessage(
                .badRequest, "\(given.count) things to search for were given",
                hint: "use one of text, hex, regex")
        }
        switch given[0] {
        case "text": return .bytes(Array(value.utf8))
        case "regex": return .expression(value)
        default:
            guard let bytes = parseHexBytes(value) else {
                throw ErrorMessage(
                    .badValue, "query parameter hex is \(value)", hint: "use pairs of hexadecimal digits")
            }
            return .bytes(bytes)
        }
    }
}
