public import LinuxSystem
public import Messages

/// The calls that take snapshots from store to store.
extension Client {
    /// `GET /v1/objects`: what the store holds, or what a snapshot is made of.
    public func objects(
        snapshot: String? = nil, withAncestors: Bool = false
    ) throws(ErrorMessage) -> ObjectList {
        var query = snapshot.map { ["snapshot=\(Client.encode($0))"] } ?? []
        if withAncestors { query.append("ancestors=true") }
        return try call("GET", "/v1/objects" + (query.isEmpty ? "" : "?" + query.joined(separator: "&")))
    }

    /// `POST /v1/snapshots/{ref}/archive`: writes the archive to `file`.
    ///
    /// An archive that breaks off in the middle throws; what was written until then stays.
    public func export(
        _ reference: String, _ request: ExportRequest = ExportRequest(), to file: borrowing Descriptor
    ) throws(ErrorMessage) {
        try download(contents(reference, "archive", []), posting: try Client.encode(request), to: file)
    }

    /// `POST /v1/import`: takes in the archive from `file`, all of it or nothing.
    public func importArchive(
        tag: String? = nil, mostBytes: Int64? = nil, from file: borrowing Descriptor
    ) throws(ErrorMessage) -> ImportResult {
        var query = tag.map { ["tag=\(Client.encode($0))"] } ?? []
        if let mostBytes { query.append("maxBytes=\(mostBytes)") }
        let target = "/v1/import" + (query.isEmpty ? "" : "?" + query.joined(separator: "&"))
        return try upload(
            ImportResult.self, to: target, method: "POST", type: "application/zstd", from: file)
    }
}
