public import Messages

extension FixtureEngine {
    public func wait(
        _ name: String, seconds: Double, cancelled: Cancellation
    ) throws(ErrorMessage) -> WaitResult {
        WaitResult(ended: false, state: try sandbox(name).state)
    }

    public func top(
        _ name: String, interval: Double, cancelled: Cancellation
    ) throws(ErrorMessage) -> ProcessTable {
        _ = try sandbox(name)
        return ProcessTable(processes: [Sample.process])
    }
}
