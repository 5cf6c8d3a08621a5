public import Messages

/// The API's calls about processes, one a route.
extension Client {
    /// `GET /v1/sandboxes/{name}/wait`: `seconds` at most, 0 to 30.
    public func wait(_ name: String, seconds: Double = 30) throws(ErrorMessage) -> WaitResult {
        try call("GET", path(name, "wait?seconds=\(seconds)"))
    }

    /// `GET /v1/sandboxes/{name}/top`: measured over `interval` seconds, 0 to 10; 0 is since their start.
    public func top(_ name: String, interval: Double = 0) throws(ErrorMessage) -> ProcessTable {
        try call("GET", path(name, "top?interval=\(interval)"))
    }
}
