public import Messages
import Glibc

/// The API's calls, one a route. Names, tags and references go as they are; the server checks them.
extension Client {
    /// `GET /v1/version`.
    public func version() throws(ErrorMessage) -> VersionInfo { try call("GET", "/v1/version") }

    /// `GET /v1/doctor`; with `selfTest` sandboxes are made, saved, restored and forked too.
    public func doctor(selfTest: Bool = false) throws(ErrorMessage) -> DoctorReport {
        try call("GET", "/v1/doctor" + (selfTest ? "?selfTest=true" : ""))
    }

    /// `POST /v1/shutdown`; the answer comes before the server ends.
    ///
    /// With `keepingSocket` the socket stays where it is, for a server that has it by `handover`.
    public func shutdown(keepingSocket: Bool = false) throws(ErrorMessage) {
        let request = ShutdownRequest(keepSocket: keepingSocket ? true : nil)
        let _: Done = try call("POST", "/v1/shutdown", body: try Client.encode(request), repeatable: false)
    }

    /// `GET /v1/handover`; throws `notFound` for a server that is too old to hand its socket over.
    public func handover() throws(ErrorMessage) -> HandoverInfo { try call("GET", "/v1/handover") }

    /// `POST /v1/gc`.
    public func gc(_ request: GCRequest = GCRequest()) throws(ErrorMessage) -> GCResult {
        try call("POST", "/v1/gc", body: try Client.encode(request))
    }

    /// `GET /v1/sandboxes`.
    public func sandboxes() throws(ErrorMessage) -> SandboxList { try call("GET", "/v1/sandboxes") }

    /// `POST /v1/sandboxes`.
    public func create(_ request: CreateRequest) throws(ErrorMessage) -> SandboxInfo {
        try call("POST", "/v1/sandboxes", body: try Client.encode(request), repeatable: false)
    }

    /// `GET /v1/sandboxes/{name}`.
    public func sandbox(_ name: String) throws(ErrorMessage) -> SandboxInfo {
        try call("GET", path(name))
    }

    /// `DELETE /v1/sandboxes/{name}`.
    public func remove(_ name: String, force: Bool = false) throws(ErrorMessage) {
        let _: Done = try call(
            "DELETE", path(name) + (force ? "?force=true" : ""), repeatable: false)
    }

    /// `POST /v1/sandboxes/{name}/kill`.
    public func kill(_ name: String, _ request: KillRequest = KillRequest()) throws(ErrorMessage)
        -> SandboxInfo
    {
        try call("POST", path(name, "kill"), body: try Client.encode(request), repeatable: false)
    }

    /// `POST /v1/sandboxes/{name}/exec`, to the command's end. A request without an id is given one, so that
    /// after a lost connection it finds its command again instead of starting another.
    public func exec(_ name: String, _ request: ExecRequest) throws(ErrorMessage) -> ExecResult {
        var request = request
        request.id = request.id ?? Client.randomID()
        return try call("POST", path(name, "exec"), body: try Client.encode(request))
    }

    /// `POST /v1/sandboxes/{name}/save`.
    public func save(_ name: String, _ request: SaveRequest = SaveRequest()) throws(ErrorMessage)
        -> SnapshotInfo
    {
        try call("POST", path(name, "save"), body: try Client.encode(request), repeatable: false)
    }

    /// `POST /v1/sandboxes/{name}/check`.
    public func check(_ name: String) throws(ErrorMessage) -> CheckResult {
        try call("POST", path(name, "check"))
    }

    /// `POST /v1/sandboxes/{name}/restore`.
    public func restore(_ name: String, _ request: RestoreRequest = RestoreRequest()) throws(ErrorMessage)
        -> RestoreResult
    {
        try call("POST", path(name, "restore"), body: try Client.encode(request), repeatable: false)
    }

    /// `POST /v1/sandboxes/{name}/reset`.
    public func reset(_ name: String) throws(ErrorMessage) -> RestoreResult {
        try call("POST", path(name, "reset"), repeatable: false)
    }

    /// `GET /v1/sandboxes/{name}/logs`.
    public func logs(_ name: String) throws(ErrorMessage) -> LogList { try call("GET", path(name, "logs")) }

    /// `POST /v1/fork`.
    public func fork(_ request: ForkRequest) throws(ErrorMessage) -> ForkResult {
        try call("POST", "/v1/fork", body: try Client.encode(request), repeatable: false)
    }

    /// `GET /v1/snapshots`.
    public func tree() throws(ErrorMessage) -> TreeInfo { try call("GET", "/v1/snapshots") }

    /// `GET /v1/snapshots/{ref}`.
    public func snapshot(_ reference: String) throws(ErrorMessage) -> SnapshotInfo {
        try call("GET", "/v1/snapshots/\(Client.encode(reference))")
    }

    /// `PUT /v1/snapshots/{ref}/tags/{tag}`.
    public func tag(_ reference: String, _ tag: String) throws(ErrorMessage) -> SnapshotInfo {
        try call("PUT", "/v1/snapshots/\(Client.encode(reference))/tags/\(Client.encode(tag))")
    }

    /// `DELETE /v1/tags/{tag}`.
    public func untag(_ tag: String) throws(ErrorMessage) {
        let _: Done = try call("DELETE", "/v1/tags/\(Client.encode(tag))", repeatable: false)
    }

    /// `DELETE /v1/snapshots/{ref}`.
    public func delete(
        _ reference: String, subtree: Bool = false, keepingChildren: Bool = false
    ) throws(ErrorMessage) -> DeleteResult {
        let query = subtree ? "?subtree=true" : keepingChildren ? "?keepChildren=true" : ""
        return try call("DELETE", "/v1/snapshots/\(Client.encode(reference))\(query)", repeatable: false)
    }

    /// `POST /v1/verify`: some snapshots by reference, or all and the store itself.
    public func verify(_ references: [String] = []) throws(ErrorMessage) -> VerifyReport {
        let request = VerifyRequest(snapshots: references.isEmpty ? nil : references)
        return try call("POST", "/v1/verify", body: try Client.encode(request))
    }

    /// `POST /v1/usage`: of some snapshots by reference, or of all.
    public func usage(_ references: [String] = []) throws(ErrorMessage) -> UsageReport {
        let request = UsageRequest(snapshots: references.isEmpty ? nil : references)
        return try call("POST", "/v1/usage", body: try Client.encode(request))
    }

    func path(_ name: String, _ more: String? = nil) -> String {
        "/v1/sandboxes/\(Client.encode(name))" + (more.map { "/\($0)" } ?? "")
    }

    /// 96 random bits in hex.
    static func randomID() -> String {
        var random = SystemRandomNumberGenerator()
        let high = String(random.next(), radix: 16)
        let low = String(UInt32.random(in: .min ... .max, using: &random), radix: 16)
        return String(repeating: "0", count: 16 - high.count) + high
            + String(repeating: "0", count: 8 - low.count) + low
    }
}
