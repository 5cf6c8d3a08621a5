import Messages

extension Router {
    /// What runs in a sandbox, and when it ends.
    static let processes: [Route] = [
        .plain(
            "GET", "/v1/sandboxes/{name}/wait", "waitForSandbox", query: ["seconds"], gives: WaitResult.self
        ) {
            (call) throws(ErrorMessage) in
            try call.engine.wait(
                call["name"], seconds: try call.number("seconds") ?? 30, cancelled: call.cancelled)
        },
        .plain(
            "GET", "/v1/sandboxes/{name}/top", "listProcesses", query: ["interval"], gives: ProcessTable.self
        ) {
            (call) throws(ErrorMessage) in
            try call.engine.top(
                call["name"], interval: try call.number("interval") ?? 0, cancelled: call.cancelled)
        },
    ]
}
