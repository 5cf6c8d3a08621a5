public import Messages

extension FixtureEngine {
    public func stats(
        _ name: String, interval: Double, cancelled: Cancellation
    ) throws(ErrorMessage) -> SandboxStatistics {
        _ = try sandbox(name)
        return Sample.statistics
    }

    public func reclaim(_ name: String, _ request: ReclaimRequest) throws(ErrorMessage) -> ReclaimResult {
        _ = try sandbox(name)
        return ReclaimResult(beforeBytes: request.bytes ?? 0, afterBytes: 0)
    }

    public func pause(_ name: String) throws(ErrorMessage) -> SandboxInfo {
        var info = try sandbox(name)
        info.state = .paused
        return info
    }

    public func unpause(_ name: String) throws(ErrorMessage) -> SandboxInfo { try sandbox(name) }

    public func update(_ name: String, _ request: UpdateRequest) throws(ErrorMessage) -> SandboxInfo {
        var info = try sandbox(name)
        info.spec.limits = request.limits
        return info
    }
}
