import Messages

/// A tree search in one sandbox: each node is a snapshot, and each rollout goes on from one to the full depth.
final class Search {
    static let depth = 6
    static let branching = 4

    private final class Node {
        let snapshot: String
        let depth: Int
        var children: [Node] = []

        init(_ snapshot: String, depth: Int) {
            self.snapshot = snapshot
            self.depth = depth
        }
    }

    private let subject: Subject
    private let root: Node
    private var draw = SystemRandomNumberGenerator()
    private var steps = 0
    /// Called with what each snapshot takes on disk by itself, in bytes.
    private let took: (Int64) -> Void

    /// Begins with a snapshot of the sandbox.
    init(_ subject: Subject, took: @escaping (Int64) -> Void) throws(ErrorMessage) {
        self.subject = subject
        self.took = took
        root = Node(try subject.save().1.id, depth: 0)
    }

    var rootSnapshot: String { root.snapshot }

    /// From a node that has room for another child to a leaf: a command that changes memory and a file, and a save, a
    /// level.
    func rollOut() throws(ErrorMessage) {
        var node = root
        while node.children.count == Self.branching { node = node.children.randomElement(using: &draw)! }
        // Where the search has come to leaves only, it begins again.
        if node.depth == Self.depth { (node, root.children) = (root, []) }
        try subject.restore(node.snapshot)
        while node.depth < Self.depth {
            steps += 1
            try subject.say("n=\(steps); echo $n > /root/step")
            let snapshot = try subject.save().1
            took(snapshot.processBytes + snapshot.layerBytes)
            let child = Node(snapshot.id, depth: node.depth + 1)
            node.children.append(child)
            node = child
        }
    }
}
