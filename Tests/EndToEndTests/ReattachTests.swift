import Foundation
import Testing

/// A command's client stays with it: over saves, restores and the server's death, each byte comes exactly once.
@Suite struct ReattachTests {
    private static let numbers =
        "for ((i = 1; i <= 150; i++)); do echo $i; echo e$i >&2; sleep 0.02; done; exit 6"
    private static let expected = (1...150).map { "\($0)\n" }.joined()

    private func expectWhole(_ result: CommandResult, _ when: String) {
        #expect(result.status == 6, "\(when): \(result)")
        #expect(result.stdout == Self.expected, "\(when): lines are missing, doubled or mixed up")
        #expect(result.stderr == (1...150).map { "e\($0)\n" }.joined(), "\(when): stderr has gaps or more")
    }

    @Test func overSaves() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("lines")
            let command = try ckpt.start("exec", "lines", "--", "bash", "-c", Self.numbers)
            while command.isRunning {
                _ = try box.save()
                usleep(UInt32.random(in: 0..<100_000))
            }
            expectWhole(command.wait(), "over saves")
        }
    }

    @Test func overRestoresOfSnapshotsThatHoldTheCommand() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("lines")
            let command = try ckpt.start("exec", "lines", "--", "bash", "-c", Self.numbers)
            #expect(eventually { command.output.contains("\n20\n") })
            let snapshot = try box.save()
            #expect(eventually { command.output.contains("\n50\n") })
            for _ in 1...3 {
                try box.restore(snapshot)
                usleep(UInt32.random(in: 0..<300_000))
            }
            expectWhole(command.wait(), "over restores")
        }
    }

    @Test func muchOutputOverARestore() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("much")
            // Far more is printed again after the restore than PID 1 keeps for somebody who does not listen.
            let command = try ckpt.start(
                "exec", "much", "--", "bash", "-c",
                "for ((i = 1; i <= 90000; i++)); do echo $i; ((i % 1000)) || sleep 0.02; done")
            #expect(eventually { command.output.contains("\n5000\n") })
            let snapshot = try box.save()
            #expect(eventually { command.output.contains("\n60000\n") })
            try box.restore(snapshot)
            let result = command.wait()
            #expect(result.status == 0)
            #expect(
                result.stdout == (1...90000).map { "\($0)\n" }.joined(),
                "lines are missing, doubled or mixed up")
        }
    }

    @Test func overTheServersDeath() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("lines")
            let command = try ckpt.start("exec", "lines", "--", "bash", "-c", Self.numbers)
            #expect(eventually { command.output.contains("\n20\n") })
            try ServerTests.crash(ckpt)
            #expect(try ckpt.sandboxes().count == 1)
            #expect(eventually { command.output.contains("\n70\n") })
            let snapshot = try box.save()
            #expect(eventually { command.output.contains("\n90\n") })
            try ServerTests.crash(ckpt)
            try box.restore(snapshot)
            expectWhole(command.wait(), "over two crashes, a save and a restore")
        }
    }

    @Test func commandThatEndedWhileNoServerRan() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("ended")
            let command = try ckpt.start(
                "exec", "-i", "ended", "--", "bash", "-c",
                """
                echo begun; while [ ! -e /root/end ]; do sleep 0.02; done
                head -c 200000 /dev/zero | tr '\\0' z; exit 9
                """,
                stdin: nil)
            #expect(eventually { command.output == "begun\n" })
            let pid = try box.info().pid ?? 0
            try ServerTests.crash(ckpt)
            try "".write(toFile: "/proc/\(pid)/root/root/end", atomically: false, encoding: .utf8)
            Thread.sleep(forTimeInterval: 0.3)
            #expect(try ckpt.sandboxes().count == 1)
            let result = command.wait()
            #expect(
                result.status == 9 && result.stdout.hasPrefix("begun\nzzz") && result.stdout.count == 200_006,
                "\(result.status)")
        }
    }

    @Test func sessionCallSurvivesToo() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("call")
            let call = try ckpt.start(
                "exec", "--session", "s", "call", "--",
                "x=5; " + Self.numbers.replacingOccurrences(of: "exit 6", with: "(exit 6)"))
            #expect(eventually { call.output.contains("\n20\n") })
            let snapshot = try box.save()
            #expect(eventually { call.output.contains("\n40\n") })
            try ServerTests.crash(ckpt)
            try box.restore(snapshot)
            expectWhole(call.wait(), "a session's call")
            #expect(try box.say("echo $x", "s") == "5")
        }
    }

    @Test func commandThatARestoreTookAwayIsToldSo() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("gone")
            let snapshot = try box.save()
            let command = try ckpt.start("exec", "gone", "--", "bash", "-c", "echo begun; sleep 1000")
            #expect(eventually { command.output == "begun\n" })
            try box.restore(snapshot)
            let result = command.wait(deadline: 20)
            #expect(!result.overdue, "the client waits for a command that is no more")
            #expect(result.status == 125 && result.stderr.hasPrefix("ckpt: "), "\(result)")
        }
    }
}
