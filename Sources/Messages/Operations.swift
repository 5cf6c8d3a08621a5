/// `GET /v1/version`.
public struct VersionInfo: Codable, Sendable {
    /// ckpt's own version.
    public var version: String
    /// The version of the snapshot store's format.
    public var format: Int
    /// The version of the API.
    public var api: String
    /// The server's pid.
    public var pid: Int32
    /// What survives a power cut; nil from a server older than that.
    public var durability: Durability?
    public init(
        version: String, format: Int, api: String, pid: Int32, durability: Durability? = nil
    ) {
        self.version = version
        self.format = format
        self.api = api
        self.pid = pid
        self.durability = durability
    }
}

/// One thing `doctor` looked at.
public struct DoctorCheck: Codable, Sendable {
    public enum Status: String, Codable, Sendable {
        case ok, warning, failed
    }
    /// What was looked at, for example `criu`.
    public var name: String
    public var status: Status
    /// What was found, one line.
    public var detail: String
    /// What to do, where something is amiss.
    public var hint: String?
    public init(name: String, status: Status, detail: String, hint: String? = nil) {
        self.name = name
        self.status = status
        self.detail = detail
        self.hint = hint
    }
}

/// `GET /v1/doctor`.
public struct DoctorReport: Codable, Sendable {
    public var checks: [DoctorCheck]
    public init(checks: [DoctorCheck]) { self.checks = checks }
    /// Whether nothing failed.
    public var healthy: Bool { !checks.contains { $0.status == .failed } }
}

/// The answer of a call that has nothing to tell: `{}`.
public struct Done: Codable, Hashable, Sendable {
    public init() {}
}

/// What ckpt calls itself.
public enum Product {
    public static let version = "0.1.0"
    public static let api = "v1"
    /// The snapshot store's format.
    public static let storeFormat = 2
}
