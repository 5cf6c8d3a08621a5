import Messages

extension Router {
    /// Routes that take snapshots from store to store.
    static let snapshotArchives: [Route] = [
        .plain(
            "GET", "/v1/objects", "listObjects", query: ["snapshot", "ancestors"], gives: ObjectList.self
        ) { (call) throws(ErrorMessage) in
            try call.engine.objects(
                snapshot: call.query["snapshot"], withAncestors: try call.flag("ancestors"))
        },
        .stream(
            "POST", "/v1/snapshots/{ref}/archive", "exportSnapshot", takes: "ExportRequest",
            .produce(type: "application/zstd") { (call, body) throws(ErrorMessage) in
                let request = try JSONBody.decode(ExportRequest.self, from: body)
                let (engine, reference) = (call.engine, call["ref"])
                return { (pipe) throws(ErrorMessage) in
                    try engine.exportSnapshot(reference, request, to: pipe)
                }
            }),
        .stream(
            "POST", "/v1/import", "importSnapshots", query: ["tag", "maxBytes"], gives: "ImportResult",
            .upload { (call) throws(ErrorMessage) in
                let (engine, tag) = (call.engine, call.query["tag"])
                let most = try call.query["maxBytes"].map { (text) throws(ErrorMessage) in
                    try ByteSize(text).bytes
                }
                return { (pipe) throws(ErrorMessage) in
                    JSONBody.encode(try engine.importSnapshots(tag: tag, mostBytes: most, from: pipe))
                }
            }),
    ]
}
