import CLinux
import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SandboxRuntime

extension CommandBox {
    /// Makes a call without PID 1, in a session of which PID 1 has made short ones.
    fileprivate func direct(_ text: String, milliseconds: UInt64? = nil, id: String = "direct") throws
        -> DirectCall
    {
        for number in 0..<3 {
            if let call = channel.callDirectly(
                text, in: "s", id: id, timeoutMilliseconds: milliseconds, pid: process.pid)
            {
                return call
            }
            try run(call("first-\(number)", "s", ":"))
            channel.noteCall(in: "s", took: 1)
        }
        throw TestFailure("no direct call in a session with short calls")
    }

    fileprivate func isLent() -> Bool { channel.own.names == ["s"] }
}

extension CommandSuite {
    @Suite struct DirectCalls {
        @Test func shortCallsDoWithoutPID1() throws {
            try inSandbox { box in
                try box.run(box.call("a", "s", "x=5; cd /etc"))
                #expect(
                    box.channel.callDirectly(
                        ":", in: "s", id: "b", timeoutMilliseconds: nil, pid: box.process.pid) == nil,
                    "a session is not borrowed for its first calls")
                let done = try box.direct("echo $x; pwd; echo e >&2; (exit 42)").finish()
                #expect(done.stdout == "5\n/etc\n" && done.stderr == "e\n" && done.code == 42)
                #expect(done.result.id == "direct" && done.result.signal == nil && !done.result.timedOut)
                #expect(box.isLent())
                #expect(try box.direct("x=6; echo 'broken").finish().code != 0)
                #expect(try box.direct("ls /proc/self/fd | wc -l").finish().stdout == "4\n")
                #expect(try box.direct("").finish().code == 0)
                #expect(box.isLent())
                #expect(box.logged.with { $0["direct stdout"] } == "5\n/etc\n4\n")
                let listing = try box.channel.list(deadline: soon())
                #expect(
                    listing.sessions.map(\.name) == ["s"] && !listing.commands.contains { $0.id == "direct" })
                // PID 1 goes on where the server was.
                #expect(try box.run(box.call("c", "s", "echo $?-$x")).stdout == "0-5\n")
                #expect(!box.isLent())
            }
        }

        /// What a program prints is read while bash waits for the program's end, the rest when bash is back.
        @Test func whatComesInPiecesIsWhole() throws {
            try inSandbox { box in
                for number in 0..<20 {
                    let id = "pieces-\(number)"
                    let done = try box.direct("/bin/echo a; /bin/echo b >&2; /bin/echo c; echo d", id: id)
                        .finish()
                    #expect(done.stdout == "a\nc\nd\n" && done.stderr == "b\n" && done.code == 0)
                    let logged = box.logged.with { ($0["\(id) stdout"], $0["\(id) stderr"]) }
                    #expect(logged == ("a\nc\nd\n", "b\n"))
                }
                // Bash that has closed its output says nothing there for ever.
                #expect(try box.direct("exec >&-; /bin/true; (exit 4)").finish().code == 4)
            }
        }

        /// One that takes long becomes PID 1's with what it is by then.
        @Test func aLongCallGoesOnAsPID1s() throws {
            try inSandbox { box in
                let call = try box.direct("echo a; echo e >&2; sleep 0.3; echo b; x=7; (exit 3)")
                let done = try call.finish()
                #expect(done.stdout == "a\nb\n" && done.stderr == "e\n" && done.code == 3)
                #expect(done.result.durationMs >= 300)
                #expect(!box.isLent())
                call.forget()
                #expect(box.logged.with { $0["direct stdout"] } == "a\nb\n")
                #expect(try box.direct("echo $x").finish().stdout == "7\n")
                let much = try box.direct("head -c 3000000 /dev/zero | tr '\\0' x; echo end")
                #expect(try much.finish().stdout == String(repeating: "x", count: 3_000_000) + "end\n")
                much.forget()
                #expect(try box.direct("unset PROMPT_COMMAND; echo $x").finish().stdout == "7\n")
                #expect(try box.direct("echo $x").finish().stdout == "7\n")
            }
        }

        @Test func aSignalAndTheEndOfBash() throws {
            try inSandbox { box in
                let call = try box.direct("sleep 1000")
                _ = call.next(deadline: monotonicNanoseconds())
                try call.signal(SIGINT)
                #expect(try call.finish().code == 130)
                call.forget()
                let last = try box.direct("echo bye; exit 7")
                let done = try last.finish()
                #expect(done.stdout == "bye\n" && done.code == 7)
                last.forget()
                #expect(try box.run(box.call("x", "s", "echo ${x-none}")).stdout == "none\n")
            }
        }

        /// A job of an earlier call outlives what ends a later one.
        @Test func aTimeoutSparesOlderJobs() throws {
            try inSandbox { box in
                let first = try box.direct("sleep 1000 & echo $!", milliseconds: 10_000).finish()
                let job = first.stdout.dropLast()
                #expect(!box.isLent(), "PID 1 has to know of it")
                let late = try box.direct("sleep 1001 & sleep 1000", milliseconds: 100, id: "late")
                let done = try late.finish()
                #expect(done.result.timedOut && done.code == 124)
                late.forget()
                let alive = try box.run(box.call("y", "s", "kill -0 \(job) && pgrep -c sleep"))
                #expect(alive.stdout == "1\n")
                #expect(try box.direct("true", milliseconds: 1).finish().result.exitCode != 127)
            }
        }

        /// Bash may close what it prints to, and print without end; and what it closed is not lent again.
        @Test func whateverBecomesOfTheOutput() throws {
            try inSandbox { box in
                let endless = try box.direct("echo begin; cat /dev/zero", milliseconds: 100)
                var (out, result): ([UInt8], ExecResult?) = ([], nil)
                while result == nil {
                    switch endless.next(deadline: soon()) {
                    case .output(let stream, let offset, let bytes):
                        if out.isEmpty { out = bytes }
                        endless.acknowledge(stream, upTo: offset + UInt64(bytes.count))
                    case .exited(let end): result = end
                    case .stdinTaken: break
                    case .failed(let error): throw error
                    case nil: throw TestFailure("it neither ends nor says anything")
                    }
                }
                #expect(result?.timedOut == true && out.starts(with: Array("begin\n".utf8)))
                endless.forget()
                let closing = try box.direct("exec 2>&1; echo x >&2; sleep 0.2; echo y", milliseconds: 10_000)
                let done = try closing.finish()
                #expect(done.stdout == "x\ny\n" && done.code == 0)
                #expect(!box.isLent())
                closing.forget()
                for number in 0..<4 {
                    #expect(try box.run(box.call("c-\(number)", "s", "echo z >&2")).stdout == "z\n")
                    box.channel.noteCall(in: "s", took: 1)
                }
                let left = box.channel.callDirectly(
                    ":", in: "s", id: "d", timeoutMilliseconds: nil, pid: box.process.pid)
                if let left { #expect(try left.finish().code == 0) }
                #expect(try box.run(box.call("e", "s", "echo z >&2")).stdout == "z\n")
            }
        }

        /// A save meets no call of the server's own, and PID 1 has the session.
        @Test func theLineIsGivenUpWhenACallHasBecomePID1s() throws {
            try inSandbox { box in
                let call = try box.direct("sleep 0.4; echo late")
                let follower = Meanwhile { () throws(Never) in try? call.finish().stdout }
                try box.channel.quiesce(deadline: soon())
                #expect(
                    box.channel.callDirectly(
                        ":", in: "s", id: "b", timeoutMilliseconds: nil, pid: box.process.pid) == nil)
                try box.channel.resume(pid: box.process.pid, deadline: soon())
                #expect(follower.wait() == "late\n")
                let loan = try box.direct("x=8")
                #expect(try loan.finish().code == 0)
                try box.channel.quiesce(deadline: soon())
                try box.channel.resume(pid: box.process.pid, deadline: soon())
                #expect(!box.isLent())
                #expect(try box.run(box.call("c", "s", "echo $x")).stdout == "8\n")
            }
        }

        /// Somebody who borrows the session gets it, and one that nobody uses goes back.
        @Test func othersGetTheSession() throws {
            try inSandbox { box in
                #expect(try box.direct("x=9").finish().code == 0)
                let lent = try box.channel.lend("s", pid: box.process.pid, deadline: soon())
                #expect(!box.isLent())
                #expect(throws: CommandError.self) {
                    try box.channel.lend("s", pid: box.process.pid, deadline: soon())
                }
                try box.channel.takeBack("s", lent, call: nil, deadline: soon())
                #expect(try box.direct("echo $x").finish().stdout == "9\n")
                #expect(box.isLent())
                try eventually("an idle one is given back") { !box.isLent() }
                #expect(try box.run(box.call("c", "s", "echo $x")).stdout == "9\n")
            }
        }

        /// What writes to the session's output between two calls is not held up for good, and is none of theirs.
        @Test func whatComesBetweenTwoCallsIsDropped() throws {
            try inSandbox { box in
                #expect(
                    try box.direct("(sleep 0.1; echo stray >&2; echo stray; : > /root/done) & disown; :")
                        .finish().code == 0)
                #expect(try box.direct(":").finish().code == 0)
                try eventually("it has written") { box.file("/root/done") != nil }
                let done = try box.direct("echo own").finish()
                #expect(done.stdout == "own\n" && done.stderr.isEmpty)
            }
        }

        @Test func aDeadSandboxIsTold() throws {
            try inSandbox { box in
                let call = try box.direct("sleep 1000")
                let follower = Meanwhile { () throws(Never) in Result { try call.finish() } }
                box.process.kill()
                #expect(throws: (any Error).self) { try follower.wait().get() }
            }
        }
    }
}
