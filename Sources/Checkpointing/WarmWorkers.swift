import Criu
import Glibc
import LinuxSystem
import SandboxRuntime

/// CRIU workers that wait for their request, so that who needs one does not wait for its start.
///
/// One for a dump stands in the network namespace of its sandbox, which must not outlive the sandbox for that: it goes
/// with the incarnation it was started for.
struct WarmWorkers {
    /// How many wait for dumps; each takes about a megabyte. The one that has waited the longest makes room.
    static let dumpers = 8
    /// How many wait for restores.
    static let restorers = 2

    private var forDumps: [(process: SandboxProcess, worker: WaitingWorker)] = []
    private var forRestores: [WaitingWorker] = []
    private var isFilling = false
    private var isClosed = false

    /// The one for a dump of that PID 1, or nil.
    mutating func takeDumper(of process: SandboxProcess) -> WaitingWorker? {
        guard let index = forDumps.firstIndex(where: { $0.process.identity == process.identity }) else {
            return nil
        }
        return forDumps.remove(at: index).worker
    }

    /// Keeps one for the next dump of that PID 1; those that have to go for it.
    mutating func keep(_ worker: WaitingWorker, for process: SandboxProcess) -> [WaitingWorker] {
        if isClosed { return [worker] }
        var gone = [takeDumper(of: process)].compactMap { $0 }
        gone += forDumps.filter { !$0.process.isAlive }.map(\.worker)
        forDumps.removeAll { entry in gone.contains { $0 === entry.worker } }
        forDumps.append((process, worker))
        if forDumps.count > Self.dumpers { gone.append(forDumps.removeFirst().worker) }
        return gone
    }

    mutating func takeRestorer() -> WaitingWorker? { forRestores.popLast() }

    /// Whether the caller is to make workers for restores.
    mutating func beginFilling() -> Bool {
        guard !isFilling, !isClosed, forRestores.count < Self.restorers else { return false }
        isFilling = true
        return true
    }

    /// Keeps one for a restore; false where no more are wanted.
    mutating func keep(_ worker: WaitingWorker) -> Bool {
        guard !isClosed, forRestores.count < Self.restorers else {
            isFilling = false
            return false
        }
        forRestores.append(worker)
        if forRestores.count == Self.restorers { isFilling = false }
        return isFilling
    }

    mutating func endFilling() { isFilling = false }

    /// Keeps none any more; those that waited.
    mutating func close() -> [WaitingWorker] {
        isClosed = true
        defer { (forDumps, forRestores) = ([], []) }
        return forDumps.map(\.worker) + forRestores
    }
}

extension CheckpointManager {
    /// How long those who wait for an answer have the processors first, in microseconds.
    private static let pause: UInt32 = 3000

    /// A worker for a dump of that PID 1, in its network namespace.
    func dumper(of process: SandboxProcess, in network: borrowing Descriptor) throws(CriuError) -> CriuWorker
    {
        if let worker = workers.with({ $0.takeDumper(of: process) })?.take() { return worker }
        return try spawnDumper(in: network)
    }

    private func spawnDumper(in network: borrowing Descriptor) throws(CriuError) -> CriuWorker {
        try CriuWorker.spawn(criu(), in: CriuSurroundings(network: network.raw, umask: 0o077))
    }

    /// Has one ready for the next dump: who was saved is mostly saved again.
    func warmDumper(of process: SandboxProcess) {
        startThread {
            usleep(Self.pause)
            guard let network = try? process.networkNamespace(),
                let worker = try? self.spawnDumper(in: network)
            else { return }
            let waiting = WaitingWorker(worker)
            _ = self.workers.with { $0.keep(waiting, for: process) }
            // It may have ended meanwhile, and nobody else would look for this.
            if !process.isAlive { self.dropDumper(of: process) }
        }
    }

    /// Lets the one go that waits for a PID 1 which has ended, or is about to.
    func dropDumper(of process: SandboxProcess) {
        _ = workers.with { $0.takeDumper(of: process) }
    }

    /// A worker for a restore within these groups.
    func restorer(within limited: LimitedRestore) throws(CriuError) -> CriuWorker {
        guard limited.groups.isEmpty else { return try limited.spawnWorker(criu()) }
        let ready = workers.with { $0.takeRestorer() }?.take()
        if workers.with({ $0.beginFilling() }) { fillRestorers() }
        if let ready { return ready }
        return try limited.spawnWorker(criu())
    }

    private func fillRestorers() {
        startThread {
            repeat {
                usleep(Self.pause)
                guard
                    let worker = try? CriuWorker.spawn(
                        self.criu(), in: CriuSurroundings(ownCgroupNamespace: true))
                else { return self.workers.with { $0.endFilling() } }
                let waiting = WaitingWorker(worker)
                if !self.workers.with({ $0.keep(waiting) }) { return }
            } while true
        }
    }

    /// Lets all go; for the server's end.
    func closeWorkers() { _ = workers.with { $0.close() } }
}
