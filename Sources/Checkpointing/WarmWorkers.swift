import Criu
import Glibc
import LinuxSystem
import Messages
import SandboxRuntime

/// CRIU workers that wait for their request, so that who needs one does not wait for its start.
struct WarmWorkers {
    enum Kind: CaseIterable {
        /// In this process's network namespace, to move into a sandbox's: CRIU would save another than its own.
        case dumper
        /// In a cgroup namespace of its own, which what it restores inherits.
        case restorer

        /// How many wait, of a megabyte each.
        var count: Int { 2 }
    }

    private var waiting: [Kind: [WaitingWorker]] = [:]
    private var isFilling = false
    private var isClosed = false
    /// How many saves and restores are under way.
    fileprivate(set) var underWay = 0

    mutating func take(_ kind: Kind) -> WaitingWorker? { waiting[kind]?.popLast() }

    /// Whether the caller is to make those that are missing.
    mutating func beginFilling() -> Bool {
        guard !isFilling, missing != nil else { return false }
        isFilling = true
        return true
    }

    /// What to make next; nil ends the filling.
    mutating func next() -> Kind? {
        if missing == nil { isFilling = false }
        return missing
    }

    mutating func keep(_ worker: WaitingWorker, _ kind: Kind) {
        if !isClosed { waiting[kind, default: []].append(worker) }
    }

    mutating func endFilling() { isFilling = false }

    private var missing: Kind? {
        isClosed ? nil : Kind.allCases.first { waiting[$0, default: []].count < $0.count }
    }

    /// Keeps none any more; those that waited.
    mutating func close() -> [WaitingWorker] {
        isClosed = true
        defer { waiting = [:] }
        return waiting.values.flatMap { $0 }
    }
}

extension CheckpointManager {
    /// How long those who wait for an answer have the processors first, in microseconds; and how long, in nanoseconds,
    /// a save or restore that is under way by then.
    private static let pause: UInt32 = 3000
    private static let patience: UInt64 = 50_000_000

    /// Does something that uses workers, without others being started beside it, and has those made up for then.
    func usingWorkers<Result>(_ body: () throws(ErrorMessage) -> Result) throws(ErrorMessage) -> Result {
        workers.with { $0.underWay += 1 }
        defer {
            workers.with(wake: true) { $0.underWay -= 1 }
            warmWorkers()
            prepareTakers()
        }
        return try body()
    }

    /// A worker for a dump of that PID 1, in its network namespace.
    ///
    /// `names` is whether it may stand in the namespaces of names and clocks too, and becomes whether it does.
    func dumper(
        of process: SandboxProcess, in network: borrowing Descriptor, names: inout Bool
    ) throws(CriuError) -> CriuWorker {
        if let worker = workers.with({ $0.take(.dumper) })?.take() {
            do throws(SystemError) {
                try worker.enterNamespaces(of: process.pid, names: names)
                return worker
            } catch {
                // It has hardly begun, or the kernel does not let it be stopped.
                worker.leave()
            }
        }
        names = false
        return try CriuWorker.spawn(criu(), in: CriuSurroundings(network: network.raw, umask: 0o077))
    }

    /// A worker for a restore within these groups, of a tree with a network namespace of its own or without.
    func restorer(within limited: LimitedRestore, ownNetwork: Bool) throws(CriuError) -> CriuWorker {
        let nursery = ownNetwork ? NetworkNursery.shared : nil
        if limited.groups.isEmpty, ownNetwork, let ready = workers.with({ $0.take(.restorer) })?.take() {
            return ready
        }
        return try limited.spawnWorker(criu(), in: nursery)
    }

    private func warmWorkers() {
        guard workers.with({ $0.beginFilling() }) else { return }
        startThread {
            self.letOthersFirst()
            while let kind = self.workers.with({ $0.next() }) {
                guard let worker = try? self.spawnWaiting(kind) else {
                    return self.workers.with { $0.endFilling() }
                }
                let waiting = WaitingWorker(worker)
                self.workers.with { $0.keep(waiting, kind) }
            }
        }
    }

    /// Waits until those who wait for an answer, and saves and restores that are under way, have had the processors.
    func letOthersFirst() {
        usleep(Self.pause)
        workers.wait(until: monotonicNanoseconds() + Self.patience) { $0.underWay == 0 ? () : nil }
    }

    private func spawnWaiting(_ kind: WarmWorkers.Kind) throws(CriuError) -> CriuWorker {
        let surroundings =
            switch kind {
            case .dumper: CriuSurroundings(umask: 0o077)
            case .restorer:
                CriuSurroundings(network: NetworkNursery.shared?.inside, ownCgroupNamespace: true)
            }
        return try CriuWorker.spawn(criu(), in: surroundings)
    }

    /// Lets all go; for the server's end.
    func closeWorkers() {
        _ = workers.with { $0.close() }
        _ = takers.with { $0.close() }
    }
}
