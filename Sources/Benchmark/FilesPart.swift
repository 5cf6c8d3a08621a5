import Messages

/// Measures what files in the writable layer cost.
struct FilesPart {
    static let operations = ["save-first", "save", "save-frozen", "restore", "reset"]

    let run: Run
    let count: Int
    let passes: Int

    private func name(_ operation: String) -> String { "files-\(count)/\(operation)" }

    func measure() throws(ErrorMessage) {
        guard run.wants(Self.operations.map(name)) else { return }
        run.say("measuring \(count) files in the writable layer")
        let subject = Subject(run.nextName("files"), on: run.connection)
        _ = try subject.create(run.base)
        for _ in 0..<(run.passes ?? passes) { try pass(subject) }
        try subject.remove()
    }

    private func pass(_ subject: Subject) throws(ErrorMessage) {
        try subject.say(fill)
        let (took, first) = try subject.save()
        run.add(name("save-first"), took)
        for _ in 0..<3 where run.wants(name("save"), name("save-frozen")) {
            let (took, snapshot) = try subject.save()
            run.add(name("save"), took)
            if let frozen = snapshot.timings?.frozenMs { run.add(name("save-frozen"), frozen) }
        }
        // A quick run has no time to write them all again.
        if run.wants(name("restore")), !run.isQuick || count == 0 {
            let call = try subject.restore(first.id)
            run.add(name("restore"), call + (try subject.ask()))
            // A restore takes the files into a layer below; those of a reset are to be in the writable one.
            try subject.reset()
            try subject.say(fill)
        }
        run.add(name("reset"), try subject.reset())
        try run.connection.delete(first.id)
    }

    private var fill: String { Workload.filling(count) }
}

extension Workload {
    /// An idle bash with files in the writable layer, for what `FilesPart` leaves out.
    static func files(_ count: Int) -> Workload {
        Workload(
            name: "files-\(count)", title: "what else is done with \(count) files", setUp: filling(count),
            ask: ":")
    }

    /// Writes files of a few bytes each, in directories of a hundred.
    static func filling(_ count: Int) -> String {
        count == 0
            ? "mkdir -p /root/files"
            : """
            mkdir -p /root/files/{0..\(max(1, count / 100) - 1)}
            for ((i = 0; i < \(count); i++)); do echo $i > /root/files/$((i % \(max(1, count / 100))))/$i; done
            """
    }
}
