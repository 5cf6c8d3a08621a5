import Messages

extension Router {
    /// Single files of a sandbox.
    static let files: [Route] = [
        .stream(
            "GET", "/v1/sandboxes/{name}/file", "readFile", query: ["path", "offset", "limit"], .readFile),
        .stream(
            "PUT", "/v1/sandboxes/{name}/file", "writeFile",
            query: ["path", "mode", "user", "atomic", "parents", "append"], gives: "FileInfo", .writeFile),
        .plain(
            "GET", "/v1/sandboxes/{name}/stat", "statFile", query: ["path", "follow"], gives: FileInfo.self
        ) { (call) throws(ErrorMessage) in
            try call.engine.fileInfo(
                call["name"], path: try call.required("path"), follow: try call.flag("follow"))
        },
        .plain(
            "GET", "/v1/sandboxes/{name}/directory", "listDirectory", query: ["path"],
            gives: DirectoryListing.self
        ) { (call) throws(ErrorMessage) in
            try call.engine.directory(call["name"], path: try call.required("path"))
        },
    ]
}

extension Call {
    /// How the file of a `writeFile` is to be written.
    func writeOptions() throws(ErrorMessage) -> WriteOptions {
        var options = WriteOptions()
        if let text = query["mode"] {
            guard let mode = UInt32(text, radix: 8) else {
                throw ErrorMessage(
                    .badValue, "query parameter mode is \(text)", hint: "an octal number, as in 644")
            }
            options.mode = mode
        }
        options.user = query["user"]
        options.isAtomic = try flag("atomic")
        options.makesParents = try flag("parents")
        options.appends = try flag("append")
        return options
    }
}
