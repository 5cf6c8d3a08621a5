import Messages

extension Router {
    /// Commands that run unattended.
    static let jobs: [Route] = [
        .post("/v1/sandboxes/{name}/jobs", "startJob", takes: ExecRequest.self, gives: JobInfo.self) {
            (call, request) throws(ErrorMessage) in
            try call.engine.startJob(call["name"], request)
        },
        .plain("GET", "/v1/sandboxes/{name}/jobs", "listJobs", gives: JobList.self) {
            (call) throws(ErrorMessage) in
            try call.engine.jobs(call["name"])
        },
        .plain(
            "GET", "/v1/sandboxes/{name}/jobs/{id}", "getJob",
            query: ["stdoutOffset", "stderrOffset", "limit", "wait"], gives: JobOutput.self
        ) { (call) throws(ErrorMessage) in
            var query = JobQuery()
            query.stdoutOffset = try call.number("stdoutOffset") ?? 0
            query.stderrOffset = try call.number("stderrOffset") ?? 0
            query.limit = try call.number("limit")
            query.wait = try call.number("wait")
            return try call.engine.job(call["name"], call["id"], query, cancelled: call.cancelled)
        },
        .post(
            "/v1/sandboxes/{name}/jobs/{id}/stop", "stopJob", takes: JobStopRequest.self, gives: JobInfo.self
        ) { (call, request) throws(ErrorMessage) in
            try call.engine.stopJob(call["name"], call["id"], request)
        },
        .plain("DELETE", "/v1/sandboxes/{name}/jobs/{id}", "removeJob", gives: Done.self) {
            (call) throws(ErrorMessage) in
            try call.engine.removeJob(call["name"], call["id"])
            return Done()
        },
    ]
}
