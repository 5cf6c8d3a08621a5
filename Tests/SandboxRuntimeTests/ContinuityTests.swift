import CLinux
import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SandboxRuntime

extension CommandSuite {
    /// Nothing is lost and nothing doubled, whatever happens to the connection, the server or the sandbox.
    @Suite struct Continuity {
        /// Prints its line numbers for ever, as fast as it is read.
        private let endless = "i=0; while :; do i=$((i+1)); echo line $i; done"

        /// Checks that the text is the lines 1, 2, 3 … without a gap, the last one perhaps cut off; how many.
        @discardableResult
        private func lines(_ text: String, from first: Int = 1) throws -> Int {
            var expected = first
            let all = text.split(separator: "\n", omittingEmptySubsequences: false)
            for line in all.dropLast() {
                guard line == "line \(expected)" else {
                    throw TestFailure("'\(line)' where line \(expected) should be")
                }
                expected += 1
            }
            guard "line \(expected)\n".hasPrefix(all.last!) else {
                throw TestFailure("'\(all.last!)' at the end")
            }
            return expected - first
        }

        /// Reads at least `bytes` more of stdout.
        private func take(_ bytes: Int, of command: RunningCommand, into text: inout String) throws {
            let goal = text.utf8.count + bytes
            while text.utf8.count < goal {
                guard case .output(let stream, let offset, let part) = command.next(deadline: soon()) else {
                    throw TestFailure("the output ends")
                }
                #expect(offset == UInt64(text.utf8.count))
                text += String(decoding: part, as: UTF8.self)
                command.acknowledge(stream, upTo: offset + UInt64(part.count))
            }
        }

        @Test func reconnections() throws {
            try inSandbox { box in
                let command = try box.start(box.script("a", endless))
                var text = ""
                for _ in 0..<50 {
                    try take(100_000, of: command, into: &text)
                    try box.channel.quiesce(deadline: soon())
                    let open = try shell("ls -l /proc/\(box.process.pid)/fd | grep -c socket:")
                    #expect(open == "1\n", "PID 1 holds its listener and no connection")
                    try box.channel.resume(pid: box.process.pid, deadline: soon())
                }
                try take(100_000, of: command, into: &text)
                try lines(text)
            }
        }

        @Test func stdinOverReconnections() throws {
            try inSandbox { box in
                var spec = box.spec("a", "cat")
                spec.stdin = true
                let command = try box.start(spec)
                var written = 0
                var text = ""
                for round in 0..<30 {
                    let part = (0..<5000).map { "line \(written + $0 + 1)\n" }.joined()
                    try command.write(
                        offset: UInt64((0..<written).reduce(0) { $0 + "line \($1 + 1)\n".utf8.count }),
                        Array(part.utf8))
                    written += 5000
                    let total = (0..<written).reduce(0) { $0 + "line \($1 + 1)\n".utf8.count }
                    if round % 2 == 0 {
                        try box.channel.quiesce(deadline: soon())
                        try box.channel.resume(pid: box.process.pid, deadline: soon())
                    }
                    while text.utf8.count < total {
                        switch command.next(deadline: soon()) {
                        case .output(let stream, let offset, let bytes):
                            text += String(decoding: bytes, as: UTF8.self)
                            command.acknowledge(stream, upTo: offset + UInt64(bytes.count))
                        case .stdinTaken: break
                        default: throw TestFailure("cat ended")
                        }
                    }
                }
                try command.closeStdin()
                text += try command.finish().stdout
                try #expect(lines(text) == written)
            }
        }

        @Test func aServerThatCrashed() throws {
            try inSandbox { box in
                let spec = box.script("a", endless)
                var command = try box.start(spec)
                let session = try box.start(box.call("b", "s", "sleep 0.3; echo survived"))
                try session.waitUntilStarted(deadline: soon())
                var text = ""
                for _ in 0..<10 {
                    try take(100_000, of: command, into: &text)
                    try box.restartServer()
                    // The client says how much it has.
                    command = try box.channel.start(
                        spec, from: (UInt64(text.utf8.count), 0), deadline: soon())
                }
                try take(100_000, of: command, into: &text)
                try lines(text)
                let listed = try box.channel.list(deadline: soon())
                #expect(Set(listed.commands.map(\.id)) == ["a", "b"])
                #expect(listed.sessions.map(\.name) == ["s"])
                try #expect(box.start(box.call("b", "s", "never run")).finish().stdout == "survived\n")
            }
        }

        /// One whose answer was lost with the connection, or that PID 1 read together with another, left every later
        /// one without an answer.
        @Test func everyQuestionForAListIsAnswered() throws {
            try inSandbox { box in
                let (channel, pid) = (box.channel, box.process.pid)
                let outcome = Monitor((finished: 0, failures: [String]()))
                let askers = 8
                for _ in 0..<askers {
                    startThread {
                        do throws(CommandError) {
                            for _ in 0..<100 { _ = try channel.list(deadline: soon()) }
                        } catch {
                            outcome.with { $0.failures.append("\(error)") }
                        }
                        outcome.with(wake: true) { $0.finished += 1 }
                    }
                }
                repeat {
                    try channel.quiesce(deadline: soon())
                    _ = try channel.resume(pid: pid, deadline: soon())
                    usleep(500)
                } while outcome.with { $0.finished } < askers
                #expect(outcome.with { $0.failures } == [])
                _ = try box.start(box.script("last", "true")).finish()
                try #expect(channel.list(deadline: soon()).commands.contains { $0.id == "last" })
            }
        }

        @Test func nobodyComesBack() throws {
            try inSandbox(grace: 200) { box in
                try box.start(box.script("a", "seq 1 100000; echo end >&2")).detach()
                try eventually("its output is in the log, and it is forgotten") {
                    try box.logged.with { $0["a stderr"] } == "end\n"
                        && box.channel.list(deadline: soon()).commands.isEmpty
                }
                #expect(box.logged.with { $0["a stdout"]?.utf8.count } == 588_895)
            }
        }

        /// What PID 1 is told with the next request it is told in order, however late that comes.
        @Test func anExitThatNobodyWantsIsForgotten() throws {
            try inSandbox(grace: 200) { box in
                for number in 0..<3 {
                    let command = try box.start(box.call("a-\(number)", "s", "echo \(number)"))
                    #expect(try command.finish().stdout == "\(number)\n")
                    command.detach()
                    // Known while somebody may want it, and no longer.
                    #expect(try box.channel.list(deadline: soon()).commands.map(\.id) == ["a-\(number)"])
                    let again = try box.start(box.call("a-\(number)", "s", "echo never"))
                    #expect(try again.finish().code == 0)
                    again.detach()
                    usleep(500_000)
                    let next = try box.start(box.call("b-\(number)", "s", ":"))
                    _ = try next.finish()
                    next.forget()
                    try eventually("it is forgotten") {
                        try box.channel.list(deadline: soon()).commands.isEmpty
                    }
                }
            }
        }

        @Test func whoIsFollowedEndsWithTheSandbox() throws {
            try inSandbox { box in
                let command = try box.start(box.script("a", "echo up; sleep 1000"))
                _ = try command.read(until: "up")
                box.process.kill()
                guard case .failed(let error) = command.next(deadline: soon()) else {
                    throw TestFailure("no end")
                }
                #expect(error.code == .wrongState)
                #expect(throws: CommandError.self) { try box.start(box.spec("b", "true")) }
            }
        }

        @Test func criuKeepsOutputOverDumps() throws {
            try inSandbox { box in
                let command = try box.start(box.script("a", endless))
                var text = ""
                for _ in 0..<5 {
                    try take(200_000, of: command, into: &text)
                    try box.channel.quiesce(deadline: soon())
                    _ = try box.dump()
                    try box.channel.resume(pid: box.process.pid, deadline: soon())
                }
                try take(200_000, of: command, into: &text)
                try lines(text)
            }
        }

        @Test func criuKeepsOutputOverRestores() throws {
            try inSandbox { box in
                let command = try box.start(box.script("a", endless))
                var text = ""
                for _ in 0..<4 {
                    try take(200_000, of: command, into: &text)
                    try box.channel.quiesce(deadline: soon())
                    let image = try box.dump()
                    try box.restore(image)
                    // The restored command goes on where the saved one was: its follower notices nothing.
                    try box.channel.resume(pid: box.process.pid, deadline: soon())
                }
                try take(200_000, of: command, into: &text)
                try lines(text)
            }
        }

        @Test func criuKeepsEveryKindOfCommand() throws {
            try inSandbox { box in
                try box.run(
                    box.call(
                        "s1", "s",
                        "x=kept; cd /etc; mkfifo /tmp/go /tmp/go2; (read y < /tmp/go2; echo job $y) & f() { echo f; }"
                    ))
                let call = try box.start(box.call("s2", "s", "echo in call; read y < /tmp/go; echo $x $y"))
                let queued = try box.start(box.call("s3", "s", "echo queued $x"))
                _ = try call.read(until: "in call")
                var terminal = box.spec("tty", "/bin/bash", "--norc", "-i")
                terminal.terminal = .init(rows: 24, columns: 80)
                let shell = try box.start(terminal)
                try shell.write(offset: 0, Array("z=7; echo re''ady\n".utf8))
                _ = try shell.read(until: "ready")
                var timed = box.script("timed", "echo up; setsid sleep 7777 & sleep 7777")
                timed.timeoutMilliseconds = 3000
                let limited = try box.start(timed)
                _ = try limited.read(until: "up")
                let ended = try box.start(box.script("ended", "echo over; exit 5"))
                try eventually("it has ended") {
                    try box.channel.list(deadline: soon()).commands.contains {
                        $0.id == "ended" && $0.hasEnded
                    }
                }
                try box.channel.quiesce(deadline: soon())
                try box.restore(try box.dump())
                try box.channel.resume(pid: box.process.pid, deadline: soon())

                try #expect(ended.finish().code == 5)
                try box.run(box.script("go", "echo after > /tmp/go; echo alive > /tmp/go2"))
                try #expect(call.finish().stdout.contains("kept after\n"))
                try #expect(queued.finish().stdout.contains("queued kept\n"))
                let last = try box.run(box.call("s4", "s", "wait; f; pwd"))
                #expect(last.stdout.hasSuffix("f\n/etc\n"))
                try shell.write(
                    offset: UInt64("z=7; echo re''ady\n".utf8.count),
                    Array("echo z''is $z; tty; exit 3\n".utf8))
                let typed = try shell.finish()
                #expect(typed.stdout.contains("zis 7\r\n/dev/pts/0\r\n") && typed.code == 3)
                let done = try limited.finish()
                #expect(done.code == 124 && done.result.timedOut)
                try #expect(box.run(box.script("ps", "ps -eo args= | grep -cx 'sleep 7777'")).stdout == "0\n")
            }
        }

        @Test func aRolledBackSandboxForgetsWhatCameLater() throws {
            try inSandbox { box in
                try box.run(box.call("s1", "s", "x=old"))
                try box.channel.quiesce(deadline: soon())
                let image = try box.dump()
                try box.channel.resume(pid: box.process.pid, deadline: soon())
                try box.run(box.call("s2", "s", "x=new"))
                let later = try box.start(box.script("later", "echo up; sleep 1000"))
                _ = try later.read(until: "up")
                try box.channel.quiesce(deadline: soon())
                try box.restore(image)
                try box.channel.resume(pid: box.process.pid, deadline: soon())
                guard case .failed(let error) = later.next(deadline: soon()) else {
                    throw TestFailure("no end")
                }
                #expect(error.message.contains("rolled back"))
                #expect(try box.run(box.call("s3", "s", "echo $x")).stdout == "old\n")
            }
        }
    }
}
