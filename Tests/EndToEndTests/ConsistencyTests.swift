import Foundation
import Testing

/// Files and memory of one snapshot are of one instant, and stay so however often it is restored.
@Suite struct ConsistencyTests {
    @Test(.enabled(if: Machine.has("gcc"), "needs gcc")) func filesAndMemoryAgreeAfterFiftyRestores() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("agree")
            try box.compile("agree.c")
            try box.say(
                #"""
                coproc C { exec /root/agree 2>/root/agree.err; }
                tell() { echo >&"${C[1]}"; IFS= read -r -t 30 answer <&"${C[0]}" && echo "$answer"; }
                """#)
            /// The count, after the program has compared all of its files with its memory.
            func count(_ box: Sandbox, _ when: String) throws -> Int {
                let words = try box.say("tell").split(separator: " ").compactMap { Int($0) }
                try #require(words.count == 2, "\(when): \(words)")
                if words[1] != 0 {
                    let first = try box.sh("head -5 /root/agree.err")
                    Issue.record("\(when): \(words[1]) mismatches, the first: \(first)")
                }
                return words[0]
            }
            var snapshots: [(id: String, range: ClosedRange<Int>)] = []
            for number in 1...10 {
                usleep(UInt32.random(in: 0..<60_000))
                let low = try count(box, "before save \(number)")
                let id = try box.save()
                snapshots.append((id, low...(try count(box, "after save \(number)"))))
            }
            for round in 1...5 {
                for (number, snapshot) in snapshots.enumerated().shuffled() {
                    let when = "round \(round), snapshot \(number + 1)"
                    try box.restore(snapshot.id)
                    let now = try count(box, when)
                    #expect(now >= snapshot.range.lowerBound, "\(when): older than the save")
                    usleep(UInt32.random(in: 0..<10_000))
                }
            }
            let forks = try ckpt.fork(snapshots[4].id, count: 2)
            for fork in forks { _ = try count(fork, "in a fork") }
        }
    }

    @Test func aSnapshotDoesNotChangeWhenItsSandboxGoesOn() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("still")
            // Written, appended to, truncated, renamed and deleted after the save, through descriptors that were
            // open at the save: these must not lead into the snapshot's layer.
            try box.sh(
                "mkdir /root/d; for f in kept appended truncated gone; do echo original > /root/d/$f; done")
            try box.say(
                """
                cd /root/d; exec 3<>kept 4>>appended 5<>truncated 6<>gone
                """)
            func state(_ box: Sandbox) throws -> String {
                try box.say(
                    "ls -A; cat kept appended truncated gone 2>&1; cat /proc/$$/fdinfo/{3,4,5,6} | grep pos")
            }
            let before = try state(box)
            let snapshot = try box.save()
            for round in 1...3 {
                try box.say(
                    """
                    echo changed >&3; echo changed >&4; : > /proc/$$/fd/5; echo changed >&6
                    rm gone; mv kept moved; mkdir new
                    """
                )
                #expect(try state(box) != before)
                let fork = try ckpt.fork(snapshot)[0]
                #expect(try state(fork) == before, "round \(round), in a fork")
                try fork.say("echo fork >&3; echo fork >&4")
                try box.restore(snapshot)
                #expect(try state(box) == before, "round \(round), restored")
            }
        }
    }
}
