import Foundation
import Testing

/// Calls that wait for a time are neither cut short by a save, for those that run on, nor by a restore or a fork.
@Suite struct InterruptionTests {
    /// Programs/waits.c, run as a coprocess of a session.
    private struct Waits {
        let box: Sandbox
        let count: Int

        init(_ box: Sandbox, _ arguments: String, count: Int) throws {
            (self.box, self.count) = (box, count)
            try box.compile("waits.c", "-pthread")
            try box.say(
                #"""
                coproc W { exec /root/waits \#(arguments) 2>/root/waits.err; }
                tell() {
                    echo >&"${W[1]}"
                    while IFS= read -r -t 20 line <&"${W[0]}" && [ "$line" != end ]; do echo "$line"; done
                }
                """#)
        }

        /// Every call with how often it has returned; none may have failed.
        func rounds(in box: Sandbox) throws -> [String: Int] {
            var rounds: [String: Int] = [:]
            for line in try box.say("tell").split(separator: "\n") {
                let words = line.split(separator: " ").map(String.init)
                try #require(words.count == 3, "\(line)")
                rounds[words[0]] = Int(words[1])
                if words[2] != "0" { Issue.record("\(box.name): \(try box.sh("cat /root/waits.err"))") }
            }
            #expect(rounds.count == count)
            return rounds
        }

        /// Every call returns again and again, for the reason it shall.
        func checkThatAllGoOn(in box: Sandbox) throws {
            let before = try rounds(in: box)
            Thread.sleep(forTimeInterval: 0.3)
            var stuck: [String] = []
            let allWent = try eventually(within: 30) {
                let now = try rounds(in: box)
                stuck = before.filter { now[$0.key]! < $0.value + 2 }.map(\.key)
                return stuck.isEmpty
            }
            #expect(allWent, "stand still in \(box.name): \(stuck.sorted())")
        }
    }

    /// As threads none but the last is its process's first, as processes all are, which CRIU treats otherwise.
    @Test(.enabled(if: Machine.has("gcc"), "needs gcc"), arguments: ["", "processes"])
    func timedWaitsAreNeitherCutShortNorLost(_ kind: String) throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("waits")
            let waits = try Waits(box, kind, count: 18)
            for _ in 1...3 {
                usleep(UInt32.random(in: 0..<250_000))
                _ = try box.save()
            }
            try waits.checkThatAllGoOn(in: box)
            for _ in 1...3 {
                usleep(UInt32.random(in: 0..<250_000))
                let snapshot = try box.save()
                usleep(UInt32.random(in: 0..<250_000))
                try box.restore(snapshot)
            }
            for each in [box] + (try ckpt.fork("waits")) { try waits.checkThatAllGoOn(in: each) }
        }
    }

    /// A call that was stopped before is restart_syscall(2) to the kernel: which one it was has to be found out.
    @Test(.enabled(if: Machine.has("gcc"), "needs gcc"), arguments: ["", "processes"])
    func waitsThatWereStoppedBeforeGoOn(_ kind: String) throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("stopped")
            // The kernel goes on with these by itself after SIGCONT; most others end with EINTR (signal(7)).
            let waits = try Waits(box, kind + " poll nanosleep sem_clockwait", count: 3)
            for _ in 1...4 {
                try box.sh("pkill -STOP -x waits; pkill -CONT -x waits")
                usleep(UInt32.random(in: 0..<200_000))
                let snapshot = try box.save()
                _ = try waits.rounds(in: box)
                try box.sh("pkill -STOP -x waits; pkill -CONT -x waits")
                try box.restore(snapshot)
            }
            try waits.checkThatAllGoOn(in: box)
        }
    }

    /// A save that is refused for what shows beforehand stops nothing.
    @Test(.enabled(if: Machine.has("gcc"), "needs gcc")) func aRefusedSaveInterruptsNothing() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("refused")
            let waits = try Waits(box, "", count: 18)
            try box.compile("refusals.c", "-pthread -lrt")
            try box.say("/root/refusals packet-pipe > /root/out &")
            try box.waitFor("grep -q ready /root/out")
            for _ in 1...3 {
                expectRefusal(try ckpt("save", "refused"), names: ["(refusals)", "packet mode"])
            }
            try waits.checkThatAllGoOn(in: box)
        }
    }

    /// A sandbox with one of `Programs/` that answers lines: `put` gives it one, `answer` waits for what it says to
    /// that, `ask` does both.
    private func converse(_ program: String, _ ckpt: Ckpt, _ flags: String = "") throws -> Sandbox {
        let box = try ckpt.create(program)
        try box.compile("\(program).c", flags)
        try box.say(
            #"""
            coproc P { ulimit -n 4200; exec /root/\#(program); }
            put() { echo "$1" >&"${P[1]}"; }
            answer() { answer=none; IFS= read -r -t 20 answer <&"${P[0]}"; echo "$answer"; }
            ask() { put "$1"; answer; }
            """#)
        return box
    }

    /// The kernel shows a timer that is just due, before its interrupt has come, as one that nobody has set: with
    /// thousands of them some are read in that moment at every third save or so.
    @Test(.enabled(if: Machine.has("gcc"), "needs gcc")) func timersThatAreJustDueFire() throws {
        try withCkpt { ckpt in
            let box = try converse("timers", ckpt)
            var last: String?
            for milliseconds in stride(from: 60, through: 360, by: 30) {
                #expect(try box.say("ask 'arm \(milliseconds)'") == "armed")
                let snapshot = try box.save()
                try box.restore(snapshot)
                #expect(try box.say("ask late") == "0", "due after \(milliseconds) ms")
                // To check the description of each at the end would take longer than all of this.
                if let last { try ckpt.ok("delete", "--keep-children", last) }
                last = snapshot
            }
        }
    }

    /// CRIU reads which signals wait before it reads the timers: those that go off in between are in neither.
    @Test(.enabled(if: Machine.has("gcc"), "needs gcc")) func alarmsWhileItIsSavedComeOnce() throws {
        try withCkpt { ckpt in
            let box = try converse("alarms", ckpt, "-pthread")
            for _ in 1...3 {
                #expect(try box.say("ask arm") == "armed")
                let snapshot = try box.save()
                #expect(try box.say("ask late") == "0", "where it went on")
                try box.restore(snapshot)
                #expect(try box.say("ask late") == "0", "restored")
                let fork = try ckpt.fork(snapshot)[0]
                #expect(try fork.say("ask late") == "0", "forked")
                try ckpt.ok("rm", "-f", fork.name)
            }
        }
    }

    /// A call that goes on after a save ends by a signal that came while everything stood still, for those that run on
    /// as for the restored.
    @Test(.enabled(if: Machine.has("gcc"), "needs gcc")) func anAlarmEndsACallAsBefore() throws {
        try withCkpt { ckpt in
            let box = try converse("ended", ckpt, "-pthread")
            func check(_ box: Sandbox, _ state: Comment) throws {
                let answer = try box.say("ask late")
                #expect(answer == "good", state)
            }
            #expect(try box.say("ask 'arm 800'") == "armed")
            let snapshot = try box.save()
            try check(box, "where it went on")
            try box.restore(snapshot)
            try check(box, "restored")
            try check(try ckpt.fork(snapshot)[0], "forked")
        }
    }

    /// A shell that sleeps in the background sleeps to the end, whatever is saved meanwhile.
    @Test func aSleepingShellSleepsOn() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("sleeper")
            try box.say("(sleep 3; echo slept $? > /root/slept) &")
            for _ in 1...3 { _ = try box.save() }
            let snapshot = try box.save()
            try box.restore(snapshot)
            for each in [box] + (try ckpt.fork(snapshot)) {
                try each.waitFor("test \"$(cat /root/slept)\" = 'slept 0'")
            }
        }
    }
}
