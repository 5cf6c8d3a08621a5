import LinuxSystem
import Messages

/// Grows a tree of snapshots by several sandboxes at once, each of nothing but its PID 1: their saves and restores are
/// those of any other, and cost the least.
final class TreeGrowth: Sendable {
    /// Snapshots that a sandbox makes from one place before it draws another.
    private static let row = 10

    private struct State {
        var ids: [String] = []
        /// How many there are to be, with those that are being made.
        var begun = 0
        var working = 0
        var failure: ErrorMessage?
    }

    private let root: String
    private let names: [String]
    private let state = Monitor(State())

    /// Makes the sandboxes `names` of the server of `root`, and the tree's root.
    init(root: String, names: [String], base: Base, on connection: TightConnection) throws(ErrorMessage) {
        (self.root, self.names) = (root, names)
        for name in names { _ = try Subject(name, on: connection).create(base) }
        let first = try Subject(names[0], on: connection).save().1.id
        state.with { ($0.ids, $0.begun) = ([first], 1) }
    }

    /// Every snapshot of it so far.
    var ids: [String] { state.with { $0.ids } }

    /// Lets it grow to `size` snapshots, or for as long as until `deadline`, in nanoseconds of CLOCK_MONOTONIC.
    func grow(to size: Int, until deadline: UInt64) throws(ErrorMessage) {
        state.with { $0.working = names.count }
        for name in names {
            startThread {
                do throws(ErrorMessage) {
                    let subject = Subject(name, on: try TightConnection(root: self.root))
                    while try self.addRow(subject, size, deadline) {}
                } catch {
                    self.state.with { $0.failure = $0.failure ?? error }
                }
                self.state.with(wake: true) { $0.working -= 1 }
            }
        }
        state.wait { $0.working == 0 ? () : nil }
        if let failure = state.with({ $0.failure }) { throw failure }
    }

    private func addRow(
        _ subject: Subject, _ size: Int, _ deadline: UInt64
    ) throws(ErrorMessage) -> Bool {
        try subject.restore(state.with { $0.ids.randomElement()! })
        for _ in 0..<Self.row {
            let number = state.with { state -> Int? in
                guard state.begun < size, state.failure == nil else { return nil }
                state.begun += 1
                return state.begun
            }
            guard let number, monotonicNanoseconds() < deadline else { return false }
            _ = try subject.write("/root/file", Array("\(number)\n".utf8))
            let made = try subject.save().1.id
            state.with { $0.ids.append(made) }
        }
        return true
    }

    /// Takes its sandboxes away. The snapshots go with the whole store.
    func end(on connection: TightConnection) throws(ErrorMessage) {
        for name in names { try Subject(name, on: connection).remove() }
    }
}
