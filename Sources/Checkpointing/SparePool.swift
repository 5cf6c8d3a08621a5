import Glibc
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

/// A sandbox at its base that belongs to nobody yet: `create` and `reset` only have to give it a name.
struct Spare: Sendable {
    let process: SandboxProcess
    /// The line to its PID 1.
    let channel: CommandChannel
    let root: RootFilesystem
    let directory: String
    /// Of its incarnation, which it keeps in a new sandbox.
    let number: Int
    /// Whether its PID 1 has started a bash for the first command.
    var hasShell = false
}

/// What a spare stands on; it serves whoever wants the same.
struct SpareKind: Hashable, Sendable {
    /// The least that a sandbox of this kind is started with.
    let spec: SandboxSpec
    let ground: Ground

    /// Nil where a sandbox needs more at its start than a spare has.
    init?(_ spec: SandboxSpec, on ground: Ground) {
        let security = spec.security
        guard spec.volumes.isEmpty, spec.tmpfs.isEmpty, spec.shmSize == nil, !spec.readOnly, spec.dns.isEmpty,
            spec.addHosts.isEmpty, spec.devices.isEmpty, security.writable == nil, security.readable == nil,
            spec.net == .none, spec.sysctls.isEmpty,
            // It has the cgroup namespace of its birth: who gets groups of its own starts in them.
            spec.limits.isEmpty
        else { return nil }
        var least = SandboxSpec(base: spec.base)
        least.security = security
        (least.ulimits, least.oomScoreAdj) = (spec.ulimits, spec.oomScoreAdj)
        (self.spec, self.ground) = (least, ground)
    }
}

/// The spares of the base that was asked for last.
struct SparePool {
    /// As many as are made while the first answers its first command on a machine of two processors, and one more;
    /// bursts soon use up any number.
    static let size = 4
    /// How long nobody has asked for anything when others are made while there are some left, and how long that is waited for,
    /// in nanoseconds.
    static let (quiet, patience): (UInt64, UInt64) = (50_000_000, 500_000_000)

    var kind: SpareKind?
    var ready: [Spare] = []
    var isFilling = false
    var isClosed = false
    /// Whether the first command in a new sandbox was a call in a session, when there was one last.
    var wantsShells = false

    /// What is left to do.
    enum Chore {
        case make(SpareKind)
        case equip(Spare, SpareKind)
    }

    /// The next thing to do, which is another's from then on; nil when all is done.
    mutating func next() -> Chore? {
        guard let kind, !isClosed else { return nil }
        if wantsShells, let index = ready.firstIndex(where: { !$0.hasShell }) {
            return .equip(ready.remove(at: index), kind)
        }
        return ready.count < Self.size ? .make(kind) : nil
    }
}

extension CheckpointManager {
    private static let prefix = ".spare-"

    /// A spare of that kind, for the caller to keep; nil when none is ready.
    ///
    /// Either way another is made in the background.
    func takeSpare(_ kind: SpareKind) -> Spare? {
        let (taken, stale) = spares.with { pool in
            let stale = pool.kind == kind ? [] : pool.ready
            if pool.kind != kind { (pool.kind, pool.ready) = (kind, []) }
            return (pool.ready.popLast(), stale)
        }
        for spare in stale { discard(spare) }
        fillSpares()
        guard let taken else { return nil }
        if taken.process.isAlive { return taken }
        discard(taken)
        return nil
    }

    /// Gives a spare to a sandbox as its next incarnation; one that is new gets its directory too.
    func adopt(
        _ spare: Spare, by sandbox: LiveSandbox, view: BaseView, position: String?, isNew: Bool
    ) throws(ErrorMessage) {
        let (root, incarnation) =
            isNew
            ? (rootFilesystem(of: sandbox, incarnation: spare.number, view: view), spare.number)
            : nextRoot(of: sandbox, view: view)
        do throws(ErrorMessage) {
            do throws(RuntimeError) {
                try SandboxProcess.setHostname(
                    sandbox.record.spec.hostname ?? sandbox.name, ofSandboxOf: spare.process.pid)
                let spec = sandbox.record.spec
                if spec.security.allowPorts != nil {
                    try SandboxNetwork.prepare(pid: spare.process.pid, for: spec)
                }
                if !isNew {
                    for (from, to) in [(spare.root.upper, root.upper), (spare.root.work, root.work)] {
                        do throws(SystemError) { try Files.rename(from, to) } catch { throw .system(error) }
                    }
                }
            } catch { throw error.message }
            if isNew { try giveDirectory(of: spare, to: sandbox) }
        } catch {
            discard(spare)
            if !isNew { removeRoot(root) }
            throw error
        }
        if isNew {
            tell(sandbox, of: spare.channel)
        } else {
            // The sandbox has a line of its own, on which somebody may follow commands.
            spare.channel.abandon(.disconnected)
        }
        defer { if !isNew { discard(spare.directory) } }
        try takeOver(
            sandbox, spare.process, root: root, incarnation: incarnation, layers: [], position: position,
            on: isNew && !spare.channel.isDown ? spare.channel : nil)
    }

    private func giveDirectory(of spare: Spare, to sandbox: LiveSandbox) throws(ErrorMessage) {
        if (try? Files.rename(spare.directory, sandbox.directory)) != nil { return }
        // What an earlier one of that name left would become a part of it.
        try mapping { () throws(SnapshotTreeError) in try store.discard(sandbox.directory) }
        do throws(SystemError) { try Files.rename(spare.directory, sandbox.directory) } catch {
            throw ErrorMessage("the directory of sandbox \(sandbox.name) cannot be made", error)
        }
    }

    private func fillSpares() {
        let starts = spares.with { pool in
            if pool.isFilling || pool.isClosed { return false }
            pool.isFilling = true
            return true
        }
        if !starts { return }
        startThread {
            self.letWhoAsksFirst()
            while let chore = self.spares.with({ $0.next() }) {
                guard let (spare, kind) = self.spare(by: chore) else { break }
                let isWanted = self.spares.with { pool in
                    if pool.isClosed || pool.kind != kind { return false }
                    pool.ready.append(spare)
                    return true
                }
                if !isWanted { self.discard(spare) }
            }
            self.spares.with(wake: true) { $0.isFilling = false }
        }
    }

    /// Whoever got the last one has the processors first and, while there are some left, everybody who asks for anything.
    private func letWhoAsksFirst() {
        let began = monotonicNanoseconds()
        usleep(20_000)
        while monotonicNanoseconds() - began < SparePool.patience,
            store.asked.with({ $0 }) + SparePool.quiet > monotonicNanoseconds(),
            spares.with({ !$0.isClosed && $0.ready.count > SparePool.size / 2 })
        { usleep(5_000) }
    }

    /// Nil when it cannot be made.
    private func spare(by chore: SparePool.Chore) -> (Spare, SpareKind)? {
        switch chore {
        case .make(let kind): makeSpare(kind).map { ($0, kind) }
        case .equip(let spare, let kind): (equipped(spare, kind), kind)
        }
    }

    /// Has a spare's PID 1 start the bash that half of a first command's time goes into. It is tried once.
    private func equipped(_ spare: Spare, _ kind: SpareKind) -> Spare {
        var spare = spare
        spare.hasShell = true
        do throws(CommandError) {
            var call = ExecRequest(shell: ":")
            call.session = "main"
            let spec = try Self.commandSpec(for: call, in: kind.spec, pid: spare.process.pid)
            try spare.channel.prepareShell(spec, deadline: monotonicNanoseconds() + Self.commandPatience)
        } catch { report("a sandbox that is kept ready has no bash: \(error.message.description)") }
        return spare
    }

    /// Notes what comes first in a new sandbox: spares get ready for the same.
    func noteFirst(_ request: ExecRequest, in sandbox: LiveSandbox) {
        let isFirst = sandbox.with { state in
            defer { state.isUntouched = false }
            return state.isUntouched
        }
        guard isFirst else { return }
        let wantsMore = spares.with { pool in
            defer { pool.wantsShells = request.session != nil }
            return request.session != nil && !pool.wantsShells
        }
        if wantsMore { fillSpares() }
    }

    /// A name that no sandbox can have, under which a later server finds what this one left.
    func nameOfSpare(_ number: Int? = nil) -> String {
        "\(Self.prefix)\(getpid())-\(number ?? nextIncarnation())"
    }

    /// Nil when it cannot be made: whoever needs a sandbox next learns why.
    private func makeSpare(_ kind: SpareKind) -> Spare? {
        let number = nextIncarnation()
        let directory = self.directory(of: nameOfSpare(number))
        guard let view = try? view(of: kind.spec, on: kind.ground), let walls = try? walls(of: kind.spec)
        else { return nil }
        let root = RootFilesystem(
            sandboxDirectory: directory, workspace: workspace, sandbox: "spare", number: number, view: view)
        guard (try? Files.makeDirectory(directory)) != nil,
            let process = try? SandboxProcess.start(
                root: root, staging: bases.staging, hostname: "spare", walls: walls, spec: SandboxSpec())
        else {
            discard(directory)
            return nil
        }
        let spare = Spare(
            process: process, channel: CommandChannel(), root: root, directory: directory, number: number)
        do throws(CommandError) {
            let deadline = monotonicNanoseconds() + Self.commandPatience
            try spare.channel.connect(pid: process.pid, deadline: deadline)
        } catch {
            discard(spare)
            return nil
        }
        return spares.with({ $0.wantsShells }) ? equipped(spare, kind) : spare
    }

    private func discard(_ spare: Spare) {
        spare.process.kill()
        spare.channel.abandon(.disconnected)
        _ = spare.process.ended(within: 5000)
        if Files.exists(spare.directory) { discard(spare.directory) }
    }

    /// Ends the spares; for the server's end.
    func closeSpares() {
        let left = spares.with { pool in
            pool.isClosed = true
            defer { pool.ready = [] }
            return pool.ready
        }
        for spare in left { discard(spare) }
        spares.wait { $0.isFilling ? nil : () }
    }

    /// Removes the directories of spares that a killed server left; `endOrphans` has ended their processes.
    func sweepSpares(in names: [String]) {
        let left = names.filter { $0.hasPrefix(Self.prefix) }
        guard !left.isEmpty else { return }
        for name in left { discard(directory(of: name)) }
        mended("sandboxes kept ready by a server that was killed: \(left.count) removed", count: left.count)
    }
}
