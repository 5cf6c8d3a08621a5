import Messages

/// Measures the operations on one workload, beside CRIU by hand on the same one.
struct WorkloadPart {
    private static let block = [UInt8](repeating: UInt8(ascii: "x"), count: 4096)
    /// Commands of a kind in a pass; as many are made for their floors.
    static let commands = 10
    /// Of a session's builtins, which cost less once bash has met its memory: a session lives long.
    static let builtins = 100

    let run: Run
    let workload: Workload
    /// Of forks at once, the numbers that are tried.
    var crowds: [Int] = []
    /// What is measured of all there is; everything when nil.
    var operations: [String]?
    var pace: (least: Int, most: Int, seconds: Double)

    /// Names as they are asked for.
    private func wants(_ names: String...) -> Bool {
        run.wants(names.filter { operations?.contains($0) != false }.map(workload.operation))
    }

    func measure() throws(ErrorMessage) {
        let all = OperationCatalogue.operations(on: workload.name, crowds: crowds)
        guard run.wants(operations?.map(workload.operation) ?? all), run.hasTime(for: workload.title) else {
            return
        }
        run.say("measuring \(workload.title)")
        let subject = Subject(run.nextName("bench"), ask: workload.ask, on: run.connection)
        _ = try subject.create(run.base)
        try subject.say(workload.setUp)
        try subject.ask()
        let first = try save(subject, "save-first")
        var floor: FloorPart?
        let besideCriu = wants(
            "save", "save-first", "save-frozen", "save-criu", "save-durable", "restore", "restore-criu",
            "fork-1")
        if besideCriu || wantsCrowds {
            floor = try FloorPart(run, workload)
        }
        let pace = Pace(pace.least, pace.most, seconds: pace.seconds, passes: run.passes)
        var done = 0
        while pace.goesOn(after: done) {
            if floor != nil { try run.awaitRest() }
            try floor?.pass()
            try commands(subject)
            try saves(subject, first.id)
            try forks(first.id)
            done += 1
        }
        try forkCrowds(first.id)
        try subject.remove()
        try run.connection.delete(first.id)
    }

    private var wantsCrowds: Bool { crowds.contains { run.wants(workload.operation("fork-\($0)")) } }

    private func save(_ subject: Subject, _ name: String, _ request: SaveRequest = SaveRequest())
        throws(ErrorMessage) -> SnapshotInfo
    {
        let (took, snapshot) = try subject.save(request)
        add(name, took)
        if let frozen = snapshot.timings?.frozenMs { add("\(name)-frozen", frozen) }
        return snapshot
    }

    private func add(_ name: String, _ milliseconds: Double) {
        if wants(name) { run.add(workload.operation(name), milliseconds) }
    }

    func commands(_ subject: Subject) throws(ErrorMessage) {
        try borrowed(subject)
        // Not by turns: after a program bash has a copy made of each page it writes to.
        for _ in 0..<Self.builtins where wants("session-builtin") {
            add("session-builtin", try subject.say("true"))
        }
        for _ in 0..<Self.commands where wants("session-echo") {
            add("session-echo", try subject.say("/bin/echo hi"))
        }
        for _ in 0..<Self.commands where wants("session-by-id") {
            add("session-by-id", try subject.say("true", id: run.nextName("call")))
        }
        for _ in 0..<Self.commands {
            if wants("write-4k") { add("write-4k", try subject.write("/root/block", Self.block)) }
            if wants("read-4k") {
                if !wants("write-4k") { _ = try subject.write("/root/block", Self.block) }
                add("read-4k", try subject.read("/root/block"))
            }
        }
        for _ in 0..<3 where wants("exec") { add("exec", try subject.exec(["true"])) }
    }

    /// The same calls without the server; what is borrowed from is given back.
    private func borrowed(_ subject: Subject) throws(ErrorMessage) {
        guard wants("borrowed-builtin", "borrowed-echo") else { return }
        try subject.ask()
        let session = try subject.borrow()
        for _ in 0..<Self.builtins where wants("borrowed-builtin") {
            add("borrowed-builtin", try session.run(Array("true".utf8)))
        }
        for _ in 0..<Self.commands where wants("borrowed-echo") {
            add("borrowed-echo", try session.run(Array("/bin/echo hi".utf8)))
        }
        session.giveBack()
        try subject.ask()
    }

    /// From the same snapshot each time, so that no chain grows.
    private func saves(_ subject: Subject, _ first: String) throws(ErrorMessage) {
        guard wants("restore", "restore-criu", "save", "save-frozen", "save-criu", "save-durable") else {
            return
        }
        let call = try subject.restore(first)
        add("restore", call + (try subject.ask()))
        // What comes in behind is not the save's.
        try subject.awaitMemory()
        var made: [String] = []
        if wants("save", "save-frozen") {
            try subject.say("echo 1 > /root/changed")
            made.append(try save(subject, "save").id)
        }
        if wants("save-criu") {
            try subject.say("echo 3 > /root/changed")
            let (_, snapshot) = try subject.save(SaveRequest(engine: .criu))
            if let criu = snapshot.timings?.criuMs { add("save-criu", criu) }
            if made.isEmpty { made.append(snapshot.id) }
        }
        if wants("save-durable") {
            try subject.say("echo 2 > /root/changed")
            let (took, snapshot) = try subject.save(SaveRequest(durability: .snapshot))
            add("save-durable", took)
            if made.isEmpty { made.append(snapshot.id) }
        }
        try subject.restore(first, engine: wants("restore-criu") ? .criu : nil)
        if wants("restore-criu"), let criu = try run.connection.decode(RestoreResult.self).timings.criuMs {
            add("restore-criu", criu)
        }
        try subject.awaitMemory()
        for id in made { try run.connection.delete(id) }
    }

    func forks(_ first: String) throws(ErrorMessage) {
        if wants("fork-1", "rm") {
            let (took, twins) = try run.forked(first, 1, ask: workload.ask)
            add("fork-1", took)
            add("rm", try twins[0].remove())
        }
        if wants("reset") {
            let twins = try run.forked(first, 1, ask: workload.ask).1
            add("reset", try twins[0].reset())
            try twins[0].remove()
        }
    }

    func forkCrowds(_ first: String) throws(ErrorMessage) {
        for crowd in crowds
        where wants("fork-\(crowd)") && run.hasTime(for: workload.operation("fork-\(crowd)")) {
            try fork(first, crowd)
        }
    }

    /// Many at once, a few times.
    private func fork(_ first: String, _ count: Int) throws(ErrorMessage) {
        let pace = Pace(1, count > 16 ? 5 : 10, seconds: run.isQuick ? 1 : 15, passes: run.passes)
        var done = 0
        while pace.goesOn(after: done) {
            let (took, twins) = try run.forked(first, count, ask: workload.ask)
            add("fork-\(count)", took)
            for twin in twins { try twin.remove() }
            done += 1
        }
    }
}

extension Run {
    /// Forks until all of them have answered `ask`; the milliseconds that took.
    func forked(_ snapshot: String, _ count: Int, ask: String = ":") throws(ErrorMessage) -> (
        Double, [Subject]
    ) {
        let request = ForkRequest(source: snapshot, count: count, prefix: nextName("fork"))
        var took = try connection.exchange(TightConnection.request("POST", "/v1/fork", json: request))
        let names = try connection.decode(ForkResult.self).sandboxes.map(\.name)
        let twins = names.map { Subject($0, ask: ask, on: connection) }
        for twin in twins { took += try twin.ask() }
        return (took, twins)
    }
}
