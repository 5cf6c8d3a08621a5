import Glibc
import LinuxSystem

/// Directories of `staging/` that are being removed in the background.
struct Removals {
    /// A directory, and how long it waits before each try after the first, in microseconds.
    fileprivate struct Item {
        let name: String
        let pauses: [UInt32]
        /// Let go of before it.
        var holding: (any Sendable)?
    }

    fileprivate var waiting: [Item] = []
    fileprivate var workers = 0
    /// Those that are just being removed.
    fileprivate var underWay = 0
    /// Whether the rest is left to the next start.
    fileprivate(set) var isOver = false

    fileprivate var isIdle: Bool { waiting.isEmpty && workers == 0 }

    /// More at once would take the disk from those who wait for it.
    fileprivate static let mostWorkers = 2
    /// How much less of a processor they get than who is waited for (setpriority(2)).
    fileprivate static let niceness: Int32 = 10
    /// How long who wanted something removed has the processors and the disk first, in microseconds, and for how long nobody
    /// is to have asked for anything, in nanoseconds.
    fileprivate static let (respite, quiet): (UInt32, UInt64) = (10_000, 20_000_000)
    /// At most so long, in nanoseconds, and not where so many directories wait.
    fileprivate static let (mostRespite, many): (UInt64, Int) = (500_000_000, 8)
    /// How long the store's end waits for what is left, in nanoseconds.
    static let patience: UInt64 = 2_000_000_000
}

extension SnapshotTree {
    /// How long the removal of a file that could not be removed waits before it is tried again, in microseconds.
    static var pauses: [UInt32] { [10_000, 100_000, 1_000_000] }

    /// Removes directories of `staging/` and returns the bytes that became free; what cannot be removed now is tried
    /// again in the background. `done` counts the directories.
    func empty(_ trash: [String], counting done: WorkCount = WorkCount()) -> Int64 {
        var freed: Int64 = 0
        for name in trash {
            defer { done.add(1) }
            do {
                freed += try TreeRemoval.remove(name, below: layout.staging)
                live.end(name)
            } catch {
                removeLater([name], pauses: Self.pauses)
            }
        }
        return freed
    }

    /// Removes directories of `staging/` on threads of its own; those that cannot be removed at once after each pause
    /// again.
    func removeLater(
        _ names: [String], pauses: [UInt32] = SnapshotTree.pauses, holding: (any Sendable)? = nil
    ) {
        if names.isEmpty { return }
        let starts = removals.with { removals -> Bool in
            removals.waiting += names.map { Removals.Item(name: $0, pauses: pauses, holding: holding) }
            if removals.workers == Removals.mostWorkers || removals.isOver { return false }
            removals.workers += 1
            return true
        }
        if starts { startThread { self.removeWhatWaits() } }
    }

    /// Takes up what an earlier server had no time to remove.
    func removeLeftTrash() throws(SnapshotTreeError) {
        let left = try wrapping { () throws(SystemError) in try layout.trash() }
        removeLater(left.filter { live.begin($0, layer: $0) })
    }

    /// How many directories are yet to be removed.
    public var removalsLeft: Int { removals.with { $0.waiting.count + $0.underWay } }

    /// Waits until everything discarded so far is removed.
    public func waitUntilRemoved() { removals.wait { $0.isIdle ? () : nil } }

    /// Leaves to the next start what cannot be removed in two seconds, or in `patience` nanoseconds: nobody waits minutes
    /// for a server's end.
    func endRemovals(patience: UInt64 = Removals.patience) {
        let deadline = monotonicNanoseconds() + patience
        removals.wait(until: deadline) { $0.isIdle ? () : nil }
        removals.with { $0.isOver = true }
        removals.wait { $0.workers == 0 ? () : nil }
    }

    private func removeWhatWaits() {
        // Of this thread alone: the kernel has it by thread.
        setpriority(PRIO_PROCESS, 0, Removals.niceness)
        standBack()
        while var item = nextToRemove() {
            item.holding = nil
            do throws(SystemError) { try remove(item) } catch {
                if error.code != ECANCELED {
                    report("staging/\(item.name) stays for ckpt gc or the next start: \(error)")
                }
            }
            live.end(item.name)
            let isMoreLeft = removals.with { removals in
                removals.underWay -= 1
                return !removals.waiting.isEmpty
            }
            if isMoreLeft { standBack() }
        }
    }

    /// Lets whoever asks for anything have the processors and the disk.
    private func standBack() {
        let end = monotonicNanoseconds() + Removals.mostRespite
        var isInTheWay = true
        while isInTheWay {
            usleep(Removals.respite)
            let now = monotonicNanoseconds()
            isInTheWay =
                now < end && asked.with { $0 + Removals.quiet > now }
                && removals.with { !$0.isOver && $0.waiting.count < Removals.many }
        }
    }

    private func nextToRemove() -> Removals.Item? {
        removals.with(wake: true) { removals in
            if !removals.isOver, !removals.waiting.isEmpty {
                removals.underWay += 1
                return removals.waiting.removeFirst()
            }
            removals.workers -= 1
            return nil
        }
    }

    private func remove(_ item: Removals.Item) throws(SystemError) {
        var left = item.pauses
        while true {
            do throws(SystemError) {
                _ = try TreeRemoval.remove(item.name, below: layout.staging) {
                    self.removals.with { $0.isOver }
                }
                return
            } catch {
                if error.code == ECANCELED || left.isEmpty { throw error }
                usleep(left.removeFirst())
            }
        }
    }
}

extension Layout {
    /// What the name of a directory of `staging/` begins with that holds nothing but what is to be removed.
    static let trashPrefix = "trash-"

    /// What lies in `staging/` to be removed.
    func trash() throws(SystemError) -> [String] {
        try DirectoryEntries(of: staging).names().filter { $0.hasPrefix(Self.trashPrefix) }
    }
}
