import LinuxSystem
import Messages

/// Measures what goes on for a while: how much of it there is in a second.
struct SustainedPart {
    static let crowds = [1, 4, 8, 16]

    let run: Run
    let seconds: Double

    private var store: String { run.stage.store }

    func measure() throws(ErrorMessage) {
        if wants(Self.crowds.map { "commands-\($0)" }) { try commands() }
        if wants(["resets", "saves-and-restores"]) { try cycles() }
        if wants(["rollouts", "rollouts-parallel", "bytes-per-snapshot"]) { try rollouts() }
    }

    private func wants(_ names: [String]) -> Bool { run.wants(names.map { "sustained/\($0)" }) }

    private func add(_ name: String, _ value: Double, _ unit: String = "per second") {
        if wants([name]) { run.sustained.append(.init(name: name, value: value, unit: unit)) }
    }

    private func sandboxes(_ count: Int) throws(ErrorMessage) -> [Subject] {
        var made: [Subject] = []
        for _ in 0..<count {
            let subject = Subject(run.nextName("steady"), on: run.connection)
            _ = try subject.create(run.base)
            try subject.ask()
            made.append(subject)
        }
        return made
    }

    /// A session's builtin, in several sandboxes at once.
    private func commands() throws(ErrorMessage) {
        run.say(
            "measuring commands in \(Self.crowds.map(String.init).joined(separator: ", ")) sandboxes at once")
        let subjects = try sandboxes(Self.crowds.last!)
        let names = subjects.map(\.name)
        for count in Self.crowds {
            let crew = Crew(root: store, count: count, seconds: seconds)
            let rate = try crew.cyclesPerSecond { (number, connection) throws(ErrorMessage) in
                let subject = Subject(names[number], on: connection)
                return { () throws(ErrorMessage) in _ = try subject.ask() }
            }
            add("commands-\(count)", rate)
        }
        for subject in subjects { try subject.remove() }
    }

    /// Each with the first command answered after it.
    private func cycles() throws(ErrorMessage) {
        run.say("measuring cycles of reset, and of save and restore")
        let subject = try sandboxes(1)[0]
        let crew = Crew(root: store, count: 1, seconds: seconds)
        let name = subject.name
        add(
            "resets",
            try crew.cyclesPerSecond { (_, connection) throws(ErrorMessage) in
                let subject = Subject(name, on: connection)
                return { () throws(ErrorMessage) in
                    try subject.reset()
                    try subject.ask()
                }
            })
        let first = try subject.save().1.id
        add(
            "saves-and-restores",
            try crew.cyclesPerSecond { (_, connection) throws(ErrorMessage) in
                let subject = Subject(name, on: connection)
                return { () throws(ErrorMessage) in
                    try subject.say("echo > /root/changed")
                    _ = try subject.save()
                    try subject.restore(first)
                    try subject.ask()
                }
            })
        try subject.remove()
        try run.connection.delete(first)
    }

    private func rollouts() throws(ErrorMessage) {
        run.say("measuring a tree search, \(Search.depth) deep with \(Search.branching) branches")
        let bytes = Monitor((sum: Int64(0), count: 0))
        for (name, count) in [("rollouts", 1), ("rollouts-parallel", run.cores)] where wants([name]) {
            let names = try sandboxes(count).map(\.name)
            let roots = Monitor([String]())
            let crew = Crew(root: store, count: count, seconds: seconds * 2)
            let rate = try crew.cyclesPerSecond { (number, connection) throws(ErrorMessage) in
                let search = try Search(Subject(names[number], on: connection)) { own in
                    bytes.with { $0 = ($0.sum + own, $0.count + 1) }
                }
                roots.with { $0.append(search.rootSnapshot) }
                return { () throws(ErrorMessage) in try search.rollOut() }
            }
            add(name, rate)
            for name in names { try Subject(name, on: run.connection).remove() }
            for root in roots.with({ $0 }) { try run.connection.delete(root) }
        }
        let (sum, count) = bytes.with { $0 }
        if count > 0 { add("bytes-per-snapshot", Double(sum) / Double(count), "bytes") }
    }
}
