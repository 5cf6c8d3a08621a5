import LinuxSystem
import Twins

/// Processes that note what a tree is made of, or have one made anew, and wait to be asked.
struct NoteTakers {
    /// So many wait or are at work, of a megabyte each; more are made for as long as they are wanted.
    static let most = 2
    private var waiting: [TwinHolder] = []
    private var atWork = 0
    private var isClosed = false

    /// One that waits; nil has the caller make one. It is to be given back.
    mutating func take() -> TwinHolder? {
        atWork += 1
        return waiting.popLast()
    }

    /// Whether one waits, or not all of those that are kept are at work.
    var isAnyFree: Bool { !waiting.isEmpty || atWork < Self.most }

    /// Takes one back; nil is one that could not be made, or is of no use any more.
    mutating func giveBack(_ taker: TwinHolder?) {
        atWork -= 1
        if let taker { add(taker) }
    }

    mutating func add(_ taker: TwinHolder) {
        if !isClosed, waiting.count + atWork < Self.most { waiting.append(taker) }
    }

    /// Keeps none any more; those that waited.
    mutating func close() -> [TwinHolder] {
        isClosed = true
        defer { waiting = [] }
        return waiting
    }

    var areMissing: Bool { !isClosed && waiting.count + atWork < Self.most }
}

extension CheckpointManager {
    /// A note taker, after `patience` nanoseconds at most where others have all of them; nil where none can be had. It is to
    /// be given back.
    func borrowTaker(patience: UInt64 = 0) -> TwinHolder? {
        if patience > 0 {
            takers.wait(until: monotonicNanoseconds() + patience) { $0.isAnyFree ? () : nil }
        }
        if let taker = takers.with({ $0.take() }) ?? (try? TwinHolder(executable: executable)) {
            return taker
        }
        giveBack(nil)
        return nil
    }

    /// Takes one back; nil is one that is of no use any more.
    func giveBack(_ taker: TwinHolder?) { takers.with(wake: true) { $0.giveBack(taker) } }

    /// Starts those that are missing.
    func prepareTakers() {
        guard takers.with({ $0.areMissing }) else { return }
        startThread { [self] in
            letOthersFirst()
            while takers.with({ $0.areMissing }) {
                guard let taker = try? TwinHolder(executable: executable) else { return }
                takers.with { $0.add(taker) }
            }
        }
    }
}
