import Foundation
import Glibc
import Messages
import Testing

/// Ctrl-C in the middle of something long: what ckpt says of it is what becomes of it, and nothing is lost.
@Suite struct InterruptTests {
    @Test func forksThatWereGivenUpAreGone() throws {
        try withCkpt { ckpt in
            let box = try large(ckpt)
            let forking = try ckpt.start("fork", "large", "-n", "16", "--name", "twin")
            #expect(eventually { (try? ckpt.sandboxes().count) ?? 0 > 1 })
            forking.signal(SIGINT)
            let result = forking.wait()
            #expect(result.status == 125 && result.stderr.contains("nothing is left of it"), "\(result)")
            #expect(eventually { (try? ckpt.sandboxes().map(\.name)) == ["large"] })
            #expect(try box.say("ask 'print(len(big))'") == "100000000")
            let told = try ckpt.ok("events", "--kind", "failed", "--kind", "forked", "--json").stdout
            #expect(told.contains("cancelled") && !told.contains("forked"), "\(told)")
        }
    }

    /// However early or late it comes: while the sandbox is made, or while its command runs.
    @Test func aRunThatRemovesItsSandboxDoesSoWhenItIsInterrupted() throws {
        try withCkpt { ckpt in
            try ckpt.ok("ps")
            for number in 0..<16 {
                let json = number % 4 == 3 ? ["--json"] : []
                let running = try RunningCommand(
                    [Ckpt.binary, "run", "--rm"] + json + ["--", "sleep", "1000"],
                    environment: ckpt.environment)
                usleep(UInt32(number) * 4_000)
                running.signal(number % 2 == 0 ? SIGINT : SIGTERM)
                let ended = running.wait()
                #expect(ended.status != 0 && !ended.overdue, "\(ended)")
            }
            #expect(eventually { (try? ckpt.sandboxes().isEmpty) == true })
            for (number, status) in [(SIGINT, Int32(125)), (SIGTERM, 128 + SIGTERM)] {
                let running = try ckpt.start("run", "--rm", "--json", "--", "sleep", "1000")
                #expect(eventually { (try? ckpt.sandboxes().first?.processes ?? 0) ?? 0 > 1 })
                running.signal(number)
                let ended = running.wait()
                #expect(ended.status == status && ended.stderr.contains("was removed"), "\(ended)")
                #expect(try ckpt.sandboxes().isEmpty)
            }
        }
    }

    @Test func aRestoreGoesOn() throws {
        try withCkpt { ckpt in
            let box = try large(ckpt)
            try box.say("put 'big = None'")
            let pid = try #require(try box.info().pid)
            let restoring = try ckpt.start("restore", "large")
            #expect(eventually { !Leftovers.isAlive(pid) })
            restoring.signal(SIGINT)
            let result = restoring.wait()
            // It may have been faster.
            #expect(
                result.status == 0
                    || result.status == 125 && result.stderr.contains("the server has begun it ends"),
                "\(result)")
            #expect(eventually { (try? ckpt.ok("events", "--kind", "restored").lines.count) == 1 })
            #expect(try box.say("ask 'print(len(big))'") == "100000000")
        }
    }

    @Test func aCopyThatBreaksOffLeavesTheOldFile() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("main")
            try box.sh("echo old > /root/keep")
            let copying = try ckpt.start("cp", "-", "main:/root", stdin: nil)
            copying.write(tarHeader(named: "keep", size: 4 << 20))
            copying.write(String(repeating: "x", count: 2 << 20))
            copying.signal(SIGINT)
            let result = copying.wait()
            #expect(result.status == 125 && result.stderr.contains("none is there in part"), "\(result)")
            #expect(
                eventually {
                    (try? ckpt.ok("events", "--kind", "failed").stdout.contains("writeArchive")) == true
                })
            #expect(try box.sh("ls -A /root; cat /root/keep") == "keep\nold")
            // One that is whole takes its place.
            let whole = try ckpt.start("cp", "-", "main:/root", stdin: nil)
            whole.write(
                tarHeader(named: "keep", size: 3) + "new" + String(repeating: "\0", count: 509 + 1024))
            whole.closeStdin()
            #expect(whole.wait().status == 0)
            #expect(try box.sh("ls -A /root; cat /root/keep") == "keep\nnew")
        }
    }

    /// A sandbox with 100 MB in a process, saved.
    private func large(_ ckpt: Ckpt) throws -> Sandbox {
        let box = try ckpt.create("large")
        try box.startPython()
        try box.say("ask 'import os; big = os.urandom(100_000_000); print(1)'", deadline: 120)
        _ = try box.save()
        return box
    }

    /// The header of a regular file in a tar stream (tar(5), POSIX ustar).
    private func tarHeader(named name: String, size: Int) -> String {
        func field(_ text: String, _ width: Int) -> String {
            text + String(repeating: "\0", count: width - text.utf8.count)
        }
        func octal(_ number: Int, _ width: Int) -> String {
            let digits = String(number, radix: 8)
            return String(repeating: "0", count: width - 1 - digits.utf8.count) + digits + "\0"
        }
        let front =
            field(name, 100) + octal(0o644, 8) + octal(0, 8) + octal(0, 8) + octal(size, 12) + octal(0, 12)
        let back = field("0", 101) + "ustar\0" + "00" + field("", 247)
        let sum = (front + String(repeating: " ", count: 8) + back).utf8.reduce(0) { $0 + Int($1) }
        return front + octal(sum, 7) + " " + back
    }
}
