import Glibc
import Messages

extension Router {
    /// Version 1 of the API; `docs/openapi.yaml` describes the same rows.
    static let v1 = Router(
        routes: service + sandboxes + jobs + processes + resources + files + streams + snapshots
            + snapshotContents + snapshotArchives + debugging + telemetry)

    private static let service: [Route] = [
        .plain("GET", "/v1/version", "getVersion", gives: VersionInfo.self) { (call) throws(ErrorMessage) in
            try call.engine.version()
        },
        .plain("GET", "/v1/doctor", "getDoctor", query: ["selfTest"], gives: DoctorReport.self) {
            (call) throws(ErrorMessage) in
            try call.engine.doctor(selfTest: try call.flag("selfTest"))
        },
        .plain("GET", "/v1/handover", "getHandover", gives: HandoverInfo.self) {
            (call) throws(ErrorMessage) in
            HandoverInfo(
                pid: getpid(), listener: call.control.listener,
                metricsListener: call.control.metricsListener)
        },
        .post("/v1/shutdown", "shutdown", takes: ShutdownRequest.self, gives: Done.self) {
            (call, request) throws(ErrorMessage) in
            call.control.requestStop(keepingSocket: request.keepSocket == true)
            return Done()
        },
        .post("/v1/gc", "collectGarbage", takes: GCRequest.self, gives: GCResult.self) {
            (call, request) throws(ErrorMessage) in
            try call.engine.gc(request)
        },
        .post("/v1/verify", "verify", takes: VerifyRequest.self, gives: VerifyReport.self) {
            (call, request) throws(ErrorMessage) in
            try call.engine.verify(request, cancelled: call.cancelled)
        },
        .post("/v1/usage", "getUsage", takes: UsageRequest.self, gives: UsageReport.self) {
            (call, request) throws(ErrorMessage) in
            try call.engine.usage(request)
        },
    ]

    private static let sandboxes: [Route] = [
        .plain("GET", "/v1/sandboxes", "listSandboxes", gives: SandboxList.self) {
            (call) throws(ErrorMessage) in
            try call.engine.sandboxes()
        },
        .post("/v1/sandboxes", "createSandbox", takes: CreateRequest.self, gives: SandboxInfo.self) {
            (call, request) throws(ErrorMessage) in
            try call.engine.create(request)
        },
        .plain("GET", "/v1/sandboxes/{name}", "getSandbox", gives: SandboxInfo.self) {
            (call) throws(ErrorMessage) in
            try call.engine.sandbox(call["name"])
        },
        .plain("DELETE", "/v1/sandboxes/{name}", "removeSandbox", query: ["force"], gives: Done.self) {
            (call) throws(ErrorMessage) in
            try call.engine.remove(call["name"], force: try call.flag("force"))
            return Done()
        },
        .post("/v1/sandboxes/{name}/exec", "exec", takes: ExecRequest.self, gives: ExecResult.self) {
            (call, request) throws(ErrorMessage) in
            try call.engine.exec(call["name"], request, cancelled: call.cancelled)
        },
        .post("/v1/sandboxes/{name}/save", "save", takes: SaveRequest.self, gives: SnapshotInfo.self) {
            (call, request) throws(ErrorMessage) in
            try call.engine.save(call["name"], request, cancelled: call.cancelled)
        },
        .plain("POST", "/v1/sandboxes/{name}/check", "check", gives: CheckResult.self) {
            (call) throws(ErrorMessage) in
            try call.engine.check(call["name"])
        },
        .post(
            "/v1/sandboxes/{name}/restore", "restore", takes: RestoreRequest.self, gives: RestoreResult.self
        ) { (call, request) throws(ErrorMessage) in
            try call.engine.restore(call["name"], request)
        },
        .plain("POST", "/v1/sandboxes/{name}/reset", "reset", gives: RestoreResult.self) {
            (call) throws(ErrorMessage) in
            try call.engine.reset(call["name"])
        },
        .post("/v1/sandboxes/{name}/kill", "kill", takes: KillRequest.self, gives: SandboxInfo.self) {
            (call, request) throws(ErrorMessage) in
            try call.engine.kill(call["name"], request)
        },
        .plain("GET", "/v1/sandboxes/{name}/logs", "getLogs", gives: LogList.self) {
            (call) throws(ErrorMessage) in
            try call.engine.logs(call["name"])
        },
    ]

    private static let streams: [Route] = [
        .stream("GET", "/v1/sandboxes/{name}/attach", "attach", .attach),
        .stream("GET", "/v1/sandboxes/{name}/sessions/{session}/loan", "lendSession", .lend),
        .stream(
            "GET", "/v1/sandboxes/{name}/archive", "readArchive", query: ["path", "owners"],
            .download(type: "application/x-tar") { (call) throws(ErrorMessage) in
                let (engine, sandbox, path) = (call.engine, call["name"], try call.required("path"))
                let owners = try call.flag("owners")
                return { (pipe) throws(ErrorMessage) in
                    try engine.readArchive(sandbox: sandbox, path: path, owners: owners, to: pipe)
                }
            }),
        .stream(
            "PUT", "/v1/sandboxes/{name}/archive", "writeArchive", query: ["path", "owners"],
            gives: "ArchiveResult",
            .upload { (call) throws(ErrorMessage) in
                let (engine, sandbox, path) = (call.engine, call["name"], try call.required("path"))
                let owners = try call.flag("owners")
                return { (pipe) throws(ErrorMessage) in
                    JSONBody.encode(
                        try engine.writeArchive(sandbox: sandbox, path: path, owners: owners, from: pipe))
                }
            }),
    ]

    private static let snapshots: [Route] = [
        .post("/v1/fork", "fork", takes: ForkRequest.self, gives: ForkResult.self) {
            (call, request) throws(ErrorMessage) in
            try call.engine.fork(request, cancelled: call.cancelled)
        },
        .encoded("GET", "/v1/snapshots", "listSnapshots", gives: TreeInfo.self) {
            (call) throws(ErrorMessage) in
            try call.engine.tree { JSONBody.encode($0) }
        },
        .plain("GET", "/v1/snapshots/{ref}", "getSnapshot", gives: SnapshotInfo.self) {
            (call) throws(ErrorMessage) in
            try call.engine.snapshot(call["ref"])
        },
        .plain(
            "DELETE", "/v1/snapshots/{ref}", "deleteSnapshot", query: ["subtree", "keepChildren"],
            gives: DeleteResult.self
        ) { (call) throws(ErrorMessage) in
            let (subtree, keepingChildren) = (try call.flag("subtree"), try call.flag("keepChildren"))
            if subtree, keepingChildren {
                throw ErrorMessage(.badValue, "subtree and keepChildren exclude each other")
            }
            return try call.engine.delete(call["ref"], subtree: subtree, keepingChildren: keepingChildren)
        },
        .plain("PUT", "/v1/snapshots/{ref}/tags/{tag}", "setTag", gives: SnapshotInfo.self) {
            (call) throws(ErrorMessage) in
            try call.engine.tag(call["ref"], call["tag"])
        },
        .plain("DELETE", "/v1/tags/{tag}", "removeTag", gives: Done.self) { (call) throws(ErrorMessage) in
            try call.engine.untag(call["tag"])
            return Done()
        },
    ]
}
