public import Messages

/// The API's calls about jobs, one a route.
extension Client {
    /// `POST /v1/sandboxes/{name}/jobs`. A request without an id is given one, so that after a lost connection
    /// it finds its job again instead of starting another.
    public func startJob(_ name: String, _ request: ExecRequest) throws(ErrorMessage) -> JobInfo {
        var request = request
        request.id = request.id ?? String(Client.randomID().prefix(12))
        return try call("POST", path(name, "jobs"), body: try Client.encode(request))
    }

    /// `GET /v1/sandboxes/{name}/jobs`.
    public func jobs(_ name: String) throws(ErrorMessage) -> JobList { try call("GET", path(name, "jobs")) }

    /// `GET /v1/sandboxes/{name}/jobs/{id}`.
    public func job(_ name: String, _ id: String, _ query: JobQuery = JobQuery()) throws(ErrorMessage)
        -> JobOutput
    {
        var words = ["stdoutOffset=\(query.stdoutOffset)", "stderrOffset=\(query.stderrOffset)"]
        if let limit = query.limit { words.append("limit=\(limit)") }
        if let wait = query.wait { words.append("wait=\(wait)") }
        return try call("GET", path(name, "jobs/\(Client.encode(id))?\(words.joined(separator: "&"))"))
    }

    /// `POST /v1/sandboxes/{name}/jobs/{id}/stop`; returns when the job has ended.
    public func stopJob(
        _ name: String, _ id: String, _ request: JobStopRequest = JobStopRequest()
    ) throws(ErrorMessage) -> JobInfo {
        try call("POST", path(name, "jobs/\(Client.encode(id))/stop"), body: try Client.encode(request))
    }

    /// `DELETE /v1/sandboxes/{name}/jobs/{id}`.
    public func removeJob(_ name: String, _ id: String) throws(ErrorMessage) {
        let _: Done = try call("DELETE", path(name, "jobs/\(Client.encode(id))"), repeatable: false)
    }
}
