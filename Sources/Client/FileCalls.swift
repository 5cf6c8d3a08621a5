public import LinuxSystem
public import Messages
import Glibc

/// The API's calls about single files, one a route.
extension Client {
    /// `GET /v1/sandboxes/{name}/stat`; a last symbolic link is only followed where `follow` says so.
    public func fileInfo(_ name: String, path inside: String, follow: Bool = false) throws(ErrorMessage)
        -> FileInfo
    {
        try call("GET", target(name, "stat", inside, follow ? "&follow=true" : ""))
    }

    /// `GET /v1/sandboxes/{name}/directory`.
    public func directory(_ name: String, path inside: String) throws(ErrorMessage) -> DirectoryListing {
        try call("GET", target(name, "directory", inside))
    }

    /// `GET /v1/sandboxes/{name}/file`: writes the bytes from `offset` on, `limit` at most, to `file`.
    public func readFile(
        _ name: String, path inside: String, offset: UInt64 = 0, limit: UInt64? = nil,
        to file: borrowing Descriptor
    ) throws(ErrorMessage) {
        let range = "&offset=\(offset)" + (limit.map { "&limit=\($0)" } ?? "")
        try download(target(name, "file", inside, range), to: file)
    }

    /// `PUT /v1/sandboxes/{name}/file`: writes all of `file` to the file at `path`.
    public func writeFile(
        _ name: String, path inside: String, _ options: WriteOptions = WriteOptions(),
        from file: borrowing Descriptor
    ) throws(ErrorMessage) -> FileInfo {
        var query = ""
        if let mode = options.mode { query += "&mode=\(String(mode, radix: 8))" }
        if let user = options.user { query += "&user=\(Client.encode(user))" }
        for (word, isSet) in [
            ("atomic", options.isAtomic), ("parents", options.makesParents), ("append", options.appends),
        ] where isSet {
            query += "&\(word)=true"
        }
        return try upload(
            FileInfo.self, to: target(name, "file", inside, query), type: "application/octet-stream",
            from: file)
    }

    private func target(_ name: String, _ what: String, _ inside: String, _ more: String = "") -> String {
        "\(path(name, what))?path=\(Client.encode(inside))\(more)"
    }
}
