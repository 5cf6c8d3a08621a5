import Glibc
import LinuxSystem
import Messages
import SandboxRuntime

/// A sandbox at its base that belongs to nobody yet: `create` and `reset` only have to give it a name.
struct Spare: Sendable {
    let process: SandboxProcess
    let root: RootFilesystem
    let directory: String
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

    var kind: SpareKind?
    var ready: [Spare] = []
    var isFilling = false
    var isClosed = false
    var made = 0
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

    /// Gives a spare to a sandbox as its next incarnation.
    func adopt(_ spare: Spare, by sandbox: LiveSandbox, view: BaseView, position: String?)
        throws(ErrorMessage)
    {
        let (root, incarnation) = nextRoot(of: sandbox, view: view)
        do throws(ErrorMessage) {
            do throws(RuntimeError) {
                try SandboxProcess.setHostname(
                    sandbox.record.spec.hostname ?? sandbox.name, ofSandboxOf: spare.process.pid)
                let spec = sandbox.record.spec
                if spec.security.allowPorts != nil {
                    try SandboxNetwork.prepare(pid: spare.process.pid, for: spec)
                }
                for (from, to) in [(spare.root.upper, root.upper), (spare.root.work, root.work)] {
                    do throws(SystemError) { try Files.rename(from, to) } catch { throw .system(error) }
                }
            } catch { throw error.message }
        } catch {
            discard(spare)
            removeRoot(root)
            throw error
        }
        defer { discard(spare.directory) }
        try takeOver(
            sandbox, spare.process, root: root, incarnation: incarnation, layers: [], position: position)
    }

    private func fillSpares() {
        let starts = spares.with { pool in
            if pool.isFilling || pool.isClosed { return false }
            pool.isFilling = true
            return true
        }
        if !starts { return }
        startThread {
            // Whoever got the last one has the processors first.
            usleep(20_000)
            while let (kind, number) = self.nextToMake() {
                guard let spare = self.makeSpare(kind, number: number) else { break }
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

    private func nextToMake() -> (SpareKind, Int)? {
        spares.with { pool in
            guard let kind = pool.kind, !pool.isClosed, pool.ready.count < SparePool.size else { return nil }
            pool.made += 1
            return (kind, pool.made)
        }
    }

    /// Nil when it cannot be made: whoever needs a sandbox next learns why.
    private func makeSpare(_ kind: SpareKind, number: Int) -> Spare? {
        let directory = self.directory(of: "\(Self.prefix)\(getpid())-\(number)")
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
        return Spare(process: process, root: root, directory: directory)
    }

    private func discard(_ spare: Spare) {
        spare.process.kill()
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
