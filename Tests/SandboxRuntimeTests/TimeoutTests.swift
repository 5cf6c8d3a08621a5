import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SandboxRuntime

extension CommandSuite {
    @Suite struct Timeouts {
        private func timed(_ spec: CommandSpec, _ milliseconds: UInt64) -> CommandSpec {
            var spec = spec
            spec.timeoutMilliseconds = milliseconds
            return spec
        }

        private func running(_ box: CommandBox, _ what: String) throws -> Int {
            Int(try box.run(box.script("count", "ps -eo args= | grep -cx '\(what)'")).stdout.dropLast()) ?? -1
        }

        @Test func inTimeNothingChanges() throws {
            try inSandbox { box in
                let done = try box.run(timed(box.script("a", "echo out; echo err >&2; exit 4"), 60_000))
                #expect(
                    done.stdout == "out\n" && done.stderr == "err\n" && done.code == 4
                        && !done.result.timedOut)
                let killed = try box.run(timed(box.script("b", "kill -9 $$"), 60_000))
                #expect(killed.result.signal == SIGKILL && !killed.result.timedOut)
            }
        }

        @Test func killsWhatItStartedAndNothingElse() throws {
            try inSandbox { box in
                try box.run(box.script("older", "sleep 1111 >/dev/null 2>&1 &"))
                let text = """
                    setsid sleep 2222 & (setsid sh -c 'setsid sleep 2222 & sleep 2222' &)
                    trap '' TERM INT HUP; echo kept; echo err >&2; sleep 2222; sleep 2222
                    """
                let done = try box.run(timed(box.script("a", text), 300))
                #expect(done.code == 124 && done.result.timedOut && done.result.signal == nil)
                #expect(done.stdout == "kept\n" && done.stderr == "err\n")
                #expect(done.result.durationMs >= 300)
                try #expect(running(box, "sleep 2222") == 0)
                try #expect(running(box, "sleep 1111") == 1)
                try #expect(running(box, "ckpt-init") == 1, "the monitor is gone")
            }
        }

        @Test func aForkingCommandIsCaughtUp() throws {
            try inSandbox { box in
                // One generation hands over to the next all the time; there are never many of them.
                let text =
                    "f() { (sleep 3333 & exec setsid sleep 0.02) && (f &); }; for i in 1 2 3 4 5 6 7 8; do f & done; wait; sleep 3333"
                try #expect(box.run(timed(box.script("a", text), 300)).code == 124)
                try #expect(running(box, "sleep 3333") == 0)
            }
        }

        @Test func daemonsOfACommandInTimeGoToPID1() throws {
            try inSandbox { box in
                let done = try box.run(
                    timed(box.script("a", "setsid sleep 4444 >/dev/null 2>&1 & echo $!"), 60_000))
                try eventually("the daemon is PID 1's child") {
                    try box.run(box.script("p", "ps -o ppid= -p \(done.stdout.dropLast()) | tr -d ' '"))
                        .stdout == "1\n"
                }
            }
        }

        @Test func aTerminalHasThemToo() throws {
            try inSandbox { box in
                var spec = timed(box.script("a", "echo up; sleep 5555"), 200)
                spec.terminal = .init(rows: 24, columns: 80)
                let done = try box.run(spec)
                #expect(done.code == 124 && done.stdout == "up\r\n")
            }
        }

        @Test func signalsReachTheCommand() throws {
            try inSandbox { box in
                let command = try box.start(
                    timed(
                        box.script(
                            "a", "trap 'echo term; exit 9' TERM; echo up; while :; do sleep 0.02; done"),
                        60_000))
                _ = try command.read(until: "up")
                try command.signal(SIGTERM)
                let done = try command.finish()
                #expect(done.stdout == "term\n" && done.code == 9)
            }
        }

        @Test func theServerNeedNotBeThere() throws {
            try inSandbox { box in
                let command = try box.start(timed(box.script("a", "echo up; sleep 6666"), 300))
                _ = try command.read(until: "up")
                try box.channel.quiesce(deadline: soon())
                usleep(600_000)
                try box.channel.resume(pid: box.process.pid, deadline: soon())
                let done = try command.finish()
                #expect(done.code == 124)
                // It ended while nobody was connected, not now.
                #expect(done.result.durationMs < 550)
            }
        }

        @Test func aKilledMonitorLosesNothingButTheLimit() throws {
            try inSandbox { box in
                try box.run(box.script("fifo", "mkfifo /tmp/go"))
                let command = try box.start(
                    timed(box.script("a", "echo up; read x < /tmp/go; exit 6"), 60_000))
                _ = try command.read(until: "up")
                try box.run(box.script("kill", "pkill -9 -x ckpt-monitor"))
                try box.run(box.script("go", "echo > /tmp/go"))
                #expect(try command.finish().code == 6)
            }
        }
    }
}
