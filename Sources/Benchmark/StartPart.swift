import CFloor
import Glibc
import LinuxSystem
import Messages

/// Measures the creation of sandboxes, beside the floor of it, and the floors of commands and files.
struct StartPart {
    let run: Run
    let pace: (least: Int, most: Int, seconds: Double)

    func measure() throws(ErrorMessage) {
        let needed = [
            "create", "exec", "session-hops", "session-builtin", "session-echo", "session-by-id",
            "borrowed-builtin", "borrowed-echo", "read-4k", "write-4k",
            "reset", "rm",
        ]
        let all = OperationCatalogue.everything.filter { operation in
            needed.contains { operation == $0 || operation.hasSuffix("/\($0)") }
        }
        guard run.wants(all) else { return }
        run.say("measuring creation")
        // Once for nothing: caches fill, and the server makes its first spares.
        try product(measured: false)
        let pace = Pace(pace.least, pace.most, seconds: pace.seconds, passes: run.passes)
        var done = 0
        while pace.goesOn(after: done) {
            try run.awaitRest()
            try floor()
            if run.wants("create") { try product(measured: true) }
            if run.wants("session-hops") { try hops() }
            done += 1
        }
    }

    private func product(measured: Bool) throws(ErrorMessage) {
        let subject = Subject(run.nextName("new"), on: run.connection)
        let call = try subject.create(run.base)
        let answer = try subject.ask()
        if measured { run.add("create", call + answer) }
        try subject.remove()
    }

    private func floor() throws(ErrorMessage) {
        let directory = "\(run.stage.directory)/\(run.nextName("floor"))"
        var answer = 0.0
        var box = try FloorBox.start(directory, lower: run.lower)
        answer = try timed { () throws(ErrorMessage) in try box.ask(":") }
        run.floors.add("start", box.startMs)
        run.floors.add("create", box.startMs + answer)
        try commands(box)
        files("\(run.stage.directory)/block")
        try run.readMetrics()
        try commands(box, as: Self.awake)
        run.floors.add("kill", box.kill())
    }

    /// What is before the name of a floor that was measured while the server kept processors awake.
    private static let awake = "awake/"

    private func commands(_ box: borrowing FloorBox, as prefix: String = "") throws(ErrorMessage) {
        for _ in 0..<WorkloadPart.builtins {
            run.floors.add(
                prefix + "session-builtin", try timed { () throws(ErrorMessage) in try box.ask("true") })
        }
        for _ in 0..<WorkloadPart.commands {
            run.floors.add(
                prefix + "session-echo", try timed { () throws(ErrorMessage) in try box.ask("/bin/echo hi") })
        }
        for _ in 0..<3 { run.floors.add(prefix + "exec", timed { _ = cfloor_run("/bin/true") }) }
    }

    /// Says what the floors of commands would be with the server's help.
    static func tellAwakeFloors(_ run: Run) {
        let told = ["session-builtin", "session-echo", "exec"].compactMap { name in
            run.floors.median(awake + name).map { "\(name) \(($0 * 1000).rounded() / 1000) ms" }
        }
        if told.isEmpty { return }
        run.note(
            "floors, were processors kept awake for them as the server has it: \(told.joined(separator: ", "))"
        )
    }

    /// What it takes at least that a session's call goes through server, PID 1 and bash, were there nothing to do in them.
    private func hops() throws(ErrorMessage) {
        var took = [UInt64](repeating: 0, count: WorkloadPart.commands)
        guard cfloor_relay(3, Int32(took.count), &took) == 0 else {
            throw ErrorMessage(
                .internal, "three processes cannot be made that hand a byte on",
                cause: String(cString: strerror(errno)))
        }
        for nanoseconds in took { run.add("session-hops", Double(nanoseconds) / 1e6) }
    }

    private func files(_ path: String) {
        var block = [UInt8](repeating: UInt8(ascii: "x"), count: 4096)
        for _ in 0..<WorkloadPart.commands {
            run.floors.add("write-4k", timed { _ = cfloor_write_file(path, &block, block.count) })
            run.floors.add("read-4k", timed { _ = cfloor_read_file(path, &block, block.count) })
        }
    }
}
