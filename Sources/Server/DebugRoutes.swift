import Messages

extension Router {
    /// What debuggers need of snapshots.
    static let debugging: [Route] = [
        .stream(
            "GET", "/v1/snapshots/{ref}/core", "readCore", query: ["pid"],
            .download(type: "application/octet-stream") { (call) throws(ErrorMessage) in
                let (engine, reference, pid) = (call.engine, call["ref"], try call.number("pid", Int.self))
                return { (pipe) throws(ErrorMessage) in try engine.core(reference, pid: pid, to: pipe) }
            }),
        .stream(
            "GET", "/v1/snapshots/{ref}/file", "readSnapshotFile", query: ["path"],
            .download(type: "application/octet-stream") { (call) throws(ErrorMessage) in
                let (engine, reference, path) = (call.engine, call["ref"], try call.required("path"))
                return { (pipe) throws(ErrorMessage) in
                    try engine.readSnapshotFile(reference, path: path, to: pipe)
                }
            }),
        .post("/v1/debug", "debug", takes: DebugRequest.self, gives: DebugSession.self) {
            (call, request) throws(ErrorMessage) in
            try call.engine.debug(request)
        },
        .plain("POST", "/v1/sandboxes/{name}/hold", "hold", gives: Done.self) {
            (call) throws(ErrorMessage) in
            try call.engine.hold(call["name"], cancelled: call.cancelled)
            return Done()
        },
    ]
}
