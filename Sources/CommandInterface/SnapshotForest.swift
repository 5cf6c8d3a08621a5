import Messages

/// The snapshots by their parent links, under the bases they stand on.
struct SnapshotForest {
    /// One base, the sandboxes that stand on it directly, and the snapshots without a parent.
    struct Ground {
        let base: Base
        var sandboxes: [SandboxInfo] = []
        var roots: [SnapshotInfo] = []
    }

    /// `host` first, then directories by path.
    let grounds: [Ground]
    private let childrenByParent: [String: [SnapshotInfo]]
    private let standingBySnapshot: [String: [SandboxInfo]]
    private let known: Set<String>
    private let shortLength: Int

    init(_ tree: TreeInfo, sandboxes: [SandboxInfo]) {
        let snapshots = tree.snapshots.sorted { ($0.created, $0.id) < ($1.created, $1.id) }
        let known = Set(snapshots.map(\.id))
        // Both lists may name the same sandbox.
        var byName: [String: SandboxInfo] = [:]
        for sandbox in tree.sandboxes + sandboxes { byName[sandbox.name] = sandbox }
        let all = byName.values.sorted { ($0.created, $0.name) < ($1.created, $1.name) }

        var grounds: [Base: Ground] = [:]
        for snapshot in snapshots where !known.contains(snapshot.parent ?? "") {
            grounds[snapshot.spec.base, default: Ground(base: snapshot.spec.base)].roots.append(snapshot)
        }
        // A sandbox whose snapshot is not in the list has no better place than its base.
        for sandbox in all where !known.contains(sandbox.snapshot ?? "") {
            grounds[sandbox.spec.base, default: Ground(base: sandbox.spec.base)].sandboxes.append(sandbox)
        }
        self.grounds = grounds.values.sorted {
            ($0.base == .host ? 0 : 1, $0.base.description) < ($1.base == .host ? 0 : 1, $1.base.description)
        }
        childrenByParent = Dictionary(grouping: snapshots.filter { $0.parent != nil }) { $0.parent! }
        standingBySnapshot = Dictionary(grouping: all.filter { $0.snapshot != nil }) { $0.snapshot! }
        self.known = known
        shortLength = Self.unambiguousLength(of: snapshots.map(\.id))
    }

    /// The children of a snapshot, oldest first.
    func children(of id: String) -> [SnapshotInfo] { childrenByParent[id] ?? [] }

    /// The sandboxes that stand on a snapshot, oldest first.
    func standing(on id: String) -> [SandboxInfo] { standingBySnapshot[id] ?? [] }

    /// The parent that a root names although it is not there.
    func missingParent(of snapshot: SnapshotInfo) -> String? {
        snapshot.parent.flatMap { known.contains($0) ? nil : $0 }
    }

    /// The beginning of an id that is enough to name it in this forest, 8 characters at least.
    func short(_ id: String) -> String { String(id.prefix(shortLength)) }

    private static func unambiguousLength(of ids: [String]) -> Int {
        var length = 8
        let longest = ids.map(\.count).max() ?? length
        // Neighbours in order share the longest beginnings.
        let sorted = ids.sorted()
        for (one, next) in zip(sorted, sorted.dropFirst()) where one != next {
            let shared = zip(one, next).prefix { $0 == $1 }.count
            length = max(length, shared + 1)
        }
        return min(length, max(longest, 8))
    }
}
