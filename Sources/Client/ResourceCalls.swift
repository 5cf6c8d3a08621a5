public import Messages

/// The API's calls about what sandboxes use, one a route.
extension Client {
    /// `GET /v1/sandboxes/{name}/stats`: the CPU's share measured over `interval` seconds, 0 to 10; 0 is since the start.
    public func stats(_ name: String, interval: Double = 0) throws(ErrorMessage) -> SandboxStatistics {
        try call("GET", path(name, "stats?interval=\(interval)"))
    }

    /// `POST /v1/sandboxes/{name}/reclaim`.
    public func reclaim(_ name: String, _ request: ReclaimRequest) throws(ErrorMessage) -> ReclaimResult {
        try call("POST", path(name, "reclaim"), body: try Client.encode(request))
    }

    /// `POST /v1/sandboxes/{name}/pause`.
    public func pause(_ name: String) throws(ErrorMessage) -> SandboxInfo {
        try call("POST", path(name, "pause"))
    }

    /// `POST /v1/sandboxes/{name}/unpause`.
    public func unpause(_ name: String) throws(ErrorMessage) -> SandboxInfo {
        try call("POST", path(name, "unpause"))
    }

    /// `POST /v1/sandboxes/{name}/update`.
    public func update(
        _ name: String, _ limits: ResourceLimits, lift: [LimitName] = []
    ) throws(ErrorMessage) -> SandboxInfo {
        let request = UpdateRequest(limits: limits, lift: lift.isEmpty ? nil : lift)
        return try call("POST", path(name, "update"), body: try Client.encode(request))
    }
}
