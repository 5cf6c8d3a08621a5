import CriuImages
import Glibc
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

/// The process images of a sandbox fresh from its base, with a session, which CRIU dumped: what another one like it is
/// written down after that was never saved.
final class Template: Sendable {
    let before: Predecessor

    /// Copies what matters of an image directory to `path`, which is removed with this.
    fileprivate init(of images: String, to path: String) throws(FollowUpRefusal) {
        before = try Predecessor(copying: images, to: path)
    }

    deinit { Files.removeFlatDirectory(before.path) }
}

/// Those that this server has made; they go with it.
struct Templates {
    /// Sandboxes with the same have the same images, but for what every follow-up compares or writes anew.
    fileprivate struct Kind: Hashable {
        let spec: SandboxSpec
        let ground: Ground

        init(_ record: SandboxRecord) {
            var spec = record.spec
            (spec.hostname, spec.env, spec.workdir, spec.entrypoint) = (nil, [:], nil, [])
            spec.saveOnCrash = false
            (self.spec, ground) = (spec, record.ground)
        }
    }

    /// So many are kept, of some 400 kB each.
    static let most = 8

    /// How long one that could not be made is not tried again, in nanoseconds.
    static let patience: UInt64 = 60_000_000_000

    fileprivate typealias Making = Meanwhile<Template, ErrorMessage>
    fileprivate var made: [(kind: Kind, work: Making, since: UInt64)] = []
}

extension CheckpointManager {
    /// What a sandbox that was never saved is written down after, made where there is none yet.
    func template(for record: SandboxRecord) throws(ErrorMessage) -> Template {
        guard record.spec.net == .none, record.spec.volumes.isEmpty else {
            throw ErrorMessage(.cannotSave, "it has a network or volumes, and was never saved before")
        }
        let kind = Templates.Kind(record)
        let work = templates.with { templates in
            if let known = templates.made.first(where: { $0.kind == kind }) { return known.work }
            if templates.made.count >= Templates.most { templates.made.removeFirst() }
            let work = Templates.Making { () throws(ErrorMessage) in try self.makeTemplate(kind) }
            templates.made.append((kind, work, monotonicNanoseconds()))
            return work
        }
        do throws(ErrorMessage) { return try work.wait() } catch {
            // It may go better later.
            let now = monotonicNanoseconds()
            templates.with { $0.made.removeAll { $0.work === work && $0.since + Templates.patience < now } }
            throw error
        }
    }

    private func makeTemplate(_ kind: Templates.Kind) throws(ErrorMessage) -> Template {
        // What is started here would inherit the priority of who writes twins down.
        setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, UInt32(getpid())))
        let record = SandboxRecord(
            name: nameOfSpare(), spec: kind.spec, created: secondsSince1970(), ground: kind.ground)
        let sandbox = LiveSandbox(
            record: record, directory: directory(of: record.name), isDurable: false, telemetry: telemetry)
        defer { unregister(sandbox) }
        // Others' spares are left to them, and are not made ready for what is done here.
        try startFresh(sandbox, position: nil, isNew: true, fromSpare: false)
        sandbox.with { $0.isUntouched = false }
        var request = ExecRequest(shell: ":")
        (request.session, request.timeout) = ("main", 20)
        let command = try start(sandbox, request, stdin: false, announced: false)
        let deadline = monotonicNanoseconds() + Self.commandPatience
        waiting: while true {
            switch command.next(deadline: deadline) {
            case .exited: break waiting
            case .failed(let error): throw error
            case .output, .stdinTaken: continue
            case nil: throw ErrorMessage(.internal, "a bash does not begin")
            }
        }
        command.forget()
        let staging = try mapping { () throws(SnapshotTreeError) in try store.stage() }
        defer { store.abandon(staging) }
        let attempt = SaveAttempt(
            sandbox: sandbox, running: try sandbox.running(for: "save"), staging: staging,
            request: SaveRequest(), crash: nil, start: monotonicNanoseconds(), cancelled: .never)
        try dumpImages(attempt)
        do throws(FollowUpRefusal) {
            return try Template(of: staging.processPath, to: "\(workspace)/template-\(staging.id)")
        } catch {
            throw ErrorMessage(.internal, "a fresh sandbox cannot be followed up", cause: error.description)
        }
    }
}
