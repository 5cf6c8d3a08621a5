import Messages

extension Router {
    /// What a sandbox uses, and how it is held back.
    static let resources: [Route] = [
        .plain(
            "GET", "/v1/sandboxes/{name}/stats", "getStatistics", query: ["interval"],
            gives: SandboxStatistics.self
        ) {
            (call) throws(ErrorMessage) in
            try call.engine.stats(
                call["name"], interval: try call.number("interval") ?? 0, cancelled: call.cancelled)
        },
        .post(
            "/v1/sandboxes/{name}/reclaim", "reclaim", takes: ReclaimRequest.self, gives: ReclaimResult.self
        ) { (call, request) throws(ErrorMessage) in
            try call.engine.reclaim(call["name"], request)
        },
        .plain("POST", "/v1/sandboxes/{name}/pause", "pause", gives: SandboxInfo.self) {
            (call) throws(ErrorMessage) in
            try call.engine.pause(call["name"])
        },
        .plain("POST", "/v1/sandboxes/{name}/unpause", "unpause", gives: SandboxInfo.self) {
            (call) throws(ErrorMessage) in
            try call.engine.unpause(call["name"])
        },
        .post(
            "/v1/sandboxes/{name}/update", "updateLimits", takes: UpdateRequest.self, gives: SandboxInfo.self
        ) { (call, request) throws(ErrorMessage) in
            try call.engine.update(call["name"], request)
        },
    ]
}
