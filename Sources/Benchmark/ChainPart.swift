import LinuxSystem
import Messages

/// Measures what the depth of a chain of snapshots costs.
struct ChainPart {
    static let depths = [1, 10, 100, 400]

    let run: Run
    let passes: Int

    static func operations(_ depth: Int) -> [String] {
        (["save", "save-frozen", "save-durable", "restore"] + beside).map { "chain-\(depth)/\($0)" }
    }

    /// What is measured as on any workload.
    private static let beside = [
        "exec", "session-builtin", "session-echo", "read-4k", "write-4k", "fork-1", "fork-16", "fork-100",
        "reset", "rm",
    ]

    private func part(_ depth: Int) -> WorkloadPart {
        let workload = Workload(name: "chain-\(depth)", title: "a chain \(depth) deep", setUp: ":", ask: ":")
        return WorkloadPart(
            run: run, workload: workload, crowds: [16, 100], operations: Self.beside, pace: (1, 1, 0))
    }

    func measure() throws(ErrorMessage) {
        let wanted = Self.depths.filter { run.wants(Self.operations($0)) }
        guard let deepest = wanted.last else { return }
        run.say("measuring chains of \(wanted.map(String.init).joined(separator: ", ")) snapshots")
        let subject = Subject(run.nextName("chain"), on: run.connection)
        _ = try subject.create(run.base)
        var root: String?
        for depth in 1...deepest {
            // Only a restore makes the writable layer one of the chain's.
            try subject.say("echo \(depth) > /root/file-\(depth)")
            let snapshot = try subject.save().1.id
            root = root ?? snapshot
            if wanted.contains(depth) { try measure(subject, snapshot, depth, beside: root!) }
            try subject.restore(snapshot)
        }
        try subject.remove()
        if let root { try run.connection.delete(root) }
    }

    /// In turn with the shallowest, so that both meet the same noise; what ends sandboxes, which goes on behind it, afterwards.
    private func measure(
        _ subject: Subject, _ snapshot: String, _ depth: Int, beside root: String
    ) throws(ErrorMessage) {
        for _ in 0..<(run.passes ?? passes) {
            try pass(subject, snapshot, depth)
            if depth > 1 { try pass(subject, root, 1) }
        }
        let part = part(depth)
        for _ in 0..<(run.passes ?? passes) {
            try subject.restore(snapshot)
            try part.commands(subject)
            try part.forks(snapshot)
        }
        try part.forkCrowds(snapshot)
    }

    private func pass(_ subject: Subject, _ snapshot: String, _ depth: Int) throws(ErrorMessage) {
        let call = try subject.restore(snapshot)
        run.add("chain-\(depth)/restore", call + (try subject.ask()))
        try subject.say("echo > /root/changed")
        let (took, made) = try subject.save()
        run.add("chain-\(depth)/save", took)
        if let frozen = made.timings?.frozenMs { run.add("chain-\(depth)/save-frozen", frozen) }
        if run.wants("chain-\(depth)/save-durable") {
            try subject.say("echo 2 > /root/changed")
            run.add("chain-\(depth)/save-durable", try subject.save(SaveRequest(durability: .snapshot)).0)
        }
        try subject.restore(snapshot)
        try run.connection.delete(made.id)
    }
}
