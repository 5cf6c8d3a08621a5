import Messages

/// Which snapshots a policy keeps, and in which order the others go; knows nothing of bytes.
struct Retention {
    /// One snapshot, as far as a policy looks at it.
    struct Node {
        let id: String
        let parent: String?
        /// The sandbox it was saved from: snapshots of one name are one line.
        let sandbox: String
        /// Seconds since 1970.
        let created: Double
        let isTagged: Bool
    }

    /// Those that stay whatever happens.
    let kept: Set<String>
    /// Those that may go, in the order they go: what is worth least first.
    ///
    /// Snapshots without a tag go before those with one; of these, leaves before what others come from; of these,
    /// the oldest first. A snapshot whose children have gone is a leaf.
    let leaving: [String]

    /// Applies the policy to a tree, oldest snapshot first; `needed` are snapshots that somebody uses.
    init(_ nodes: [Node], policy: GCRequest, needed: Set<String>, now: Double) {
        var kept = needed.intersection(nodes.map(\.id))
        if policy.keepTagged == true { kept.formUnion(nodes.filter(\.isTagged).map(\.id)) }
        if let within = policy.keepWithin {
            kept.formUnion(nodes.filter { $0.created >= now - within }.map(\.id))
        }
        if let count = policy.keepLast {
            for line in Dictionary(grouping: nodes, by: \.sandbox).values {
                kept.formUnion(line.suffix(count).map(\.id))
            }
        }
        if policy.keepPaths == true { Self.addAncestors(to: &kept, nodes) }
        self.kept = kept
        leaving = Self.order(nodes, kept)
    }

    private static func addAncestors(to kept: inout Set<String>, _ nodes: [Node]) {
        let parents = Dictionary(uniqueKeysWithValues: nodes.map { ($0.id, $0.parent) })
        for id in kept {
            var next = parents[id] ?? nil
            while let id = next, kept.insert(id).inserted { next = parents[id] ?? nil }
        }
    }

    private static func order(_ nodes: [Node], _ kept: Set<String>) -> [String] {
        let index = Dictionary(uniqueKeysWithValues: nodes.enumerated().map { ($1.id, $0) })
        let parents = nodes.map { $0.parent.flatMap { index[$0] } }
        var children = [Int](repeating: 0, count: nodes.count)
        for parent in parents { if let parent { children[parent] += 1 } }
        var isGone = [Bool](repeating: false, count: nodes.count)
        var left = nodes.indices.filter { !kept.contains(nodes[$0].id) }
        var order: [String] = []
        while !left.isEmpty {
            // Less is worth less.
            let worth = { (at: Int) in (nodes[at].isTagged ? 2 : 0) + (children[at] > 0 ? 1 : 0) }
            var place = 0
            for other in left.indices where worth(left[other]) < worth(left[place]) { place = other }
            let chosen = left.remove(at: place)
            order.append(nodes[chosen].id)
            isGone[chosen] = true
            var parent = parents[chosen]
            while let gone = parent, isGone[gone] { parent = parents[gone] }
            // What came from it now comes from its parent.
            if let parent { children[parent] += children[chosen] - 1 }
        }
        return order
    }
}

extension Retention.Node {
    init(_ record: SnapshotTree.Record) {
        self.init(
            id: record.id, parent: record.parent, sandbox: record.manifest.sandbox,
            created: record.manifest.created, isTagged: !record.tags.isEmpty)
    }
}
