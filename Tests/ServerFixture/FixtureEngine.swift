import LinuxSystem
public import Messages
import Glibc

/// An engine for tests of the transport: sandboxes are entries of a dictionary, commands are patterns of
/// bytes.
///
/// The product itself is tested end to end with the real engine; this one exists so that a test can hold
/// still, count and break what the real one would not.
public final class FixtureEngine: EngineOperations {
    struct State {
        var sandboxes: [String: SandboxInfo] = [:]
        var snapshots: [SnapshotInfo] = []
        var journal: [String] = []
    }
    let state = Monitor(State())
    /// Where echo commands keep what must outlive the server.
    let directory: String

    public init(directory: String) { self.directory = directory }

    /// Waits until the journal holds `line`; false after 20 s.
    public func waits(for line: String, times: Int = 1) -> Bool {
        let deadline = monotonicNanoseconds() + 20_000_000_000
        return state.wait(until: deadline) { state in
            state.journal.count { $0 == line } >= times ? true : nil
        } ?? false
    }

    /// Waits for a line of the journal that begins with `start`; nil after 20 s.
    public func line(beginning start: String) -> String? {
        let deadline = monotonicNanoseconds() + 20_000_000_000
        return state.wait(until: deadline) { $0.journal.first { $0.hasPrefix(start) } }
    }

    func note(_ line: String) { state.with(wake: true) { $0.journal.append(line) } }

    public func version() throws(ErrorMessage) -> VersionInfo {
        VersionInfo(version: Product.version, format: Product.storeFormat, api: Product.api, pid: getpid())
    }

    public func doctor(selfTest: Bool) throws(ErrorMessage) -> DoctorReport { Sample.doctorReport }

    public func sandboxes() throws(ErrorMessage) -> SandboxList {
        SandboxList(sandboxes: state.with { $0.sandboxes.values.sorted { $0.name < $1.name } })
    }

    public func create(_ request: CreateRequest) throws(ErrorMessage) -> SandboxInfo {
        let name = request.name ?? "made-up"
        return try state.with { (state) throws(ErrorMessage) in
            guard state.sandboxes[name] == nil else {
                throw ErrorMessage(
                    .nameTaken, "there is a sandbox \(name) already", hint: "choose another name")
            }
            var info = Sample.sandboxInfo
            info.name = name
            info.spec = request.spec
            state.sandboxes[name] = info
            return info
        }
    }

    public func sandbox(_ name: String) throws(ErrorMessage) -> SandboxInfo {
        guard let info = state.with({ $0.sandboxes[name] }) else {
            throw ErrorMessage(.unknownSandbox, "there is no sandbox \(name)")
        }
        return info
    }

    public func remove(_ name: String, force: Bool) throws(ErrorMessage) {
        guard try sandbox(name).state != .running || force else {
            throw ErrorMessage(.wrongState, "\(name) is running", hint: "use force")
        }
        state.with { $0.sandboxes[name] = nil }
    }

    public func kill(_ name: String, _ request: KillRequest) throws(ErrorMessage) -> SandboxInfo {
        var info = try sandbox(name)
        if request.signal == nil { info.state = .stopped }
        let changed = info
        state.with { $0.sandboxes[name] = changed }
        return info
    }

    public func logs(_ name: String) throws(ErrorMessage) -> LogList {
        _ = try sandbox(name)
        return LogList(records: [Sample.logRecord])
    }

    public func exec(
        _ name: String, _ request: ExecRequest, cancelled: Cancellation
    ) throws(ErrorMessage) -> ExecResult {
        _ = try sandbox(name)
        var result = ExecResult(
            id: request.id ?? "made-up", exitCode: 0, signal: nil, timedOut: false, durationMs: 0.5)
        switch request.argv.first {
        case "hang":
            note("hangs")
            var entry = pollfd(fd: cancelled.descriptor!, events: Cancellation.events, revents: 0)
            poll(&entry, 1, 20_000)
            note(cancelled.isCancelled ? "cancelled" : "hung for too long")
            try cancelled.check()
        case "print": result.stdout = String(repeating: "x", count: Int(request.argv[1])!)
        case "sleep": usleep(UInt32((request.timeout ?? 0) * 1e6))
        case "die": result.exitCode = 3
        default: result.stdout = request.stdin
        }
        return result
    }

    public func lend(_ name: String, session: String) throws(ErrorMessage) -> any SessionLoan {
        _ = try sandbox(name)
        return FixtureLoan(session, engine: self)
    }

    public func attach(_ name: String, _ request: ExecRequest) throws(ErrorMessage) -> any AttachedCommand {
        _ = try sandbox(name)
        return try FixtureCommand(self, request)
    }

    public func save(
        _ name: String, _ request: SaveRequest, cancelled: Cancellation
    ) throws(ErrorMessage) -> SnapshotInfo {
        _ = try sandbox(name)
        return state.with { state in
            var info = Sample.snapshotInfo
            info.id = "snap\(state.snapshots.count)"
            info.sandbox = name
            info.tags = request.tag.map { [$0] } ?? []
            info.message = request.message
            state.snapshots.append(info)
            return info
        }
    }

    public func restore(_ name: String, _ request: RestoreRequest) throws(ErrorMessage) -> RestoreResult {
        if let reference = request.snapshot { _ = try snapshot(reference) }
        return RestoreResult(
            sandbox: try sandbox(name), snapshot: request.snapshot ?? "snap0", timings: Sample.timings)
    }

    public func check(_ name: String) throws(ErrorMessage) -> CheckResult {
        _ = try sandbox(name)
        return Sample.checkResult
    }

    public func reset(_ name: String) throws(ErrorMessage) -> RestoreResult {
        RestoreResult(sandbox: try sandbox(name), snapshot: nil, timings: Sample.timings)
    }

    public func fork(
        _ request: ForkRequest, cancelled: Cancellation
    ) throws(ErrorMessage) -> ForkResult {
        let source = try snapshot(request.source)
        var made: [SandboxInfo] = []
        for number in 1...(request.count ?? 1) {
            let name = "\(request.prefix ?? "fork")-\(number)"
            made.append(try create(CreateRequest(name: name, spec: source.spec)))
        }
        return ForkResult(
            sandboxes: made, snapshot: source.id, timings: Sample.timings, eachMs: made.map { _ in 1.5 })
    }

    public func tree() throws(ErrorMessage) -> TreeInfo {
        TreeInfo(snapshots: state.with { $0.snapshots }, sandboxes: try sandboxes().sandboxes)
    }

    public func snapshot(_ reference: String) throws(ErrorMessage) -> SnapshotInfo {
        let found = state.with { state in
            state.snapshots.first { $0.id == reference || $0.tags.contains(reference) }
        }
        guard let found else {
            throw ErrorMessage(.unknownSnapshot, "there is no snapshot \(reference)")
        }
        return found
    }

    public func tag(_ reference: String, _ tag: String) throws(ErrorMessage) -> SnapshotInfo {
        let id = try snapshot(reference).id
        return state.with { state in
            let index = state.snapshots.firstIndex { $0.id == id }!
            state.snapshots[index].tags.append(tag)
            return state.snapshots[index]
        }
    }

    public func untag(_ tag: String) throws(ErrorMessage) {
        let id = try snapshot(tag).id
        state.with { state in
            let index = state.snapshots.firstIndex { $0.id == id }!
            state.snapshots[index].tags.removeAll { $0 == tag }
        }
    }

    public func delete(
        _ reference: String, subtree: Bool, keepingChildren: Bool
    ) throws(ErrorMessage) -> DeleteResult {
        let id = try snapshot(reference).id
        state.with { $0.snapshots.removeAll { $0.id == id } }
        return DeleteResult(deleted: [id, subtree ? "and its subtree" : "alone"], freedBytes: 7)
    }

    public func verify(
        _ request: VerifyRequest, cancelled: Cancellation
    ) throws(ErrorMessage) -> VerifyReport { Sample.verifyReport }
    public func usage(_ request: UsageRequest) throws(ErrorMessage) -> UsageReport { Sample.usageReport }
    public func gc(_ request: GCRequest) throws(ErrorMessage) -> GCResult {
        try request.check()
        return Sample.gcResult
    }
}

/// A loan of five ends of nothing.
private final class FixtureLoan: SessionLoan {
    private let session: String
    private let engine: FixtureEngine
    private let file: Descriptor

    init(_ session: String, engine: FixtureEngine) {
        self.session = session
        self.engine = engine
        file = try! Descriptor.open("/dev/null", O_RDWR)
    }

    let lastUse: Int64? = nil
    var terms: SessionTerms { SessionTerms(line: ". \(session)\n", commands: 7) }
    func handOver(_ send: ([Int32]) -> Bool) -> Bool { send(Array(repeating: file.raw, count: 5)) }

    func takeBack(_ call: CallReturn?) throws(ErrorMessage) {
        if call?.id == "refused" { throw ErrorMessage(.inUse, "a call runs in it") }
        engine.note("\(session) taken back with \(call?.id ?? "nothing")")
    }
}
