/// `GET /v1/handover`: what another server needs to take this one's place.
public struct HandoverInfo: Codable, Hashable, Sendable {
    /// The server's pid.
    public var pid: Int32
    /// The number of its listening socket's descriptor, for pidfd_getfd(2).
    public var listener: Int32
    /// The same of the TCP socket on which it tells its numbers; nil where it has none.
    public var metricsListener: Int32?
    public init(pid: Int32, listener: Int32, metricsListener: Int32? = nil) {
        self.pid = pid
        self.listener = listener
        self.metricsListener = metricsListener
    }
}

/// `POST /v1/shutdown`.
public struct ShutdownRequest: Codable, Hashable, Sendable {
    /// Leaves the socket where it is, for the one who has its descriptor: whoever connects waits there meanwhile.
    public var keepSocket: Bool?
    public init(keepSocket: Bool? = nil) { self.keepSocket = keepSocket }
}
