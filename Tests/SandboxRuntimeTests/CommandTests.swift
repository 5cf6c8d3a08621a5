import CLinux
import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SandboxRuntime

extension CommandSuite {
    @Suite struct Commands {
        @Test func streamsAndExitCode() throws {
            try inSandbox { box in
                let done = try box.run(box.script("a", "echo out; echo err >&2; exit 7"))
                #expect(done.stdout == "out\n")
                #expect(done.stderr == "err\n")
                #expect(done.code == 7)
                #expect(done.result.signal == nil)
            }
        }

        @Test func whatCannotBeStarted() throws {
            try inSandbox { box in
                let missing = try box.run(box.spec("a", "no-such-program"))
                #expect(missing.code == 127)
                #expect(missing.stderr == "ckpt: exec no-such-program: No such file or directory\n")
                let directory = try box.run(box.spec("b", "/etc"))
                #expect(directory.code == 126)
                #expect(directory.stderr == "ckpt: exec /etc: Permission denied\n")
                var lost = box.spec("c", "true")
                lost.workingDirectory = "/nowhere"
                #expect(try box.run(lost).code == 126)
                #expect(try box.run(lost).stderr == "ckpt: chdir /nowhere: No such file or directory\n")
                lost.anyDirectory = true
                #expect(try box.run(lost).code == 0)
                var timed = box.spec("d", "no-such-program")
                timed.timeoutMilliseconds = 60_000
                #expect(try box.run(timed).code == 127)
                #expect(try box.run(timed).stderr == missing.stderr)
            }
        }

        @Test func scriptWithoutInterpreterLineIsShellText() throws {
            try inSandbox { box in
                try box.run(box.script("a", "echo 'echo \"$0 $1\"' > /tmp/plain; chmod +x /tmp/plain"))
                #expect(try box.run(box.spec("b", "/tmp/plain", "one")).stdout == "/tmp/plain one\n")
            }
        }

        @Test func aKilledCommandTellsItsSignal() throws {
            try inSandbox { box in
                let command = try box.start(box.script("a", "echo up; exec sleep 1000"))
                _ = try command.read(until: "up")
                try command.signal(SIGTERM)
                let done = try command.finish()
                #expect(done.code == 128 + SIGTERM)
                #expect(done.result.signal == SIGTERM)
            }
        }

        @Test func startsInACleanProcess() throws {
            try inSandbox { box in
                let done = try box.run(
                    box.script(
                        "a",
                        "ls /proc/self/fd | wc -l; grep -E 'Sig(Blk|Ign)' /proc/self/status; umask; pwd; ps -o pid=,sid= -p $$ | tr -s ' '"
                    ))
                let lines = done.stdout.split(separator: "\n").map(String.init)
                #expect(lines[0] == "4", "stdio and what ls itself opens: \(done.stdout)")
                #expect(lines[1] == "SigBlk:\t0000000000000000")
                #expect(lines[2] == "SigIgn:\t0000000000000000")
                #expect(lines[3] == "0022" && lines[4] == "/")
                let ids = lines[5].split(separator: " ")
                #expect(ids[0] == ids[1], "a session of its own: \(lines[5])")
            }
        }

        @Test func stdinArrivesAndEnds() throws {
            try inSandbox { box in
                var spec = box.spec("a", "sha256sum")
                spec.stdin = true
                let command = try box.start(spec)
                let bytes = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
                var sent = 0
                var taken = 0
                while sent < bytes.count {
                    let part = bytes[sent..<min(sent + 50_000, bytes.count)]
                    try command.write(offset: UInt64(sent), Array(part))
                    sent += part.count
                    while sent - taken > 200_000 {
                        guard case .stdinTaken(let upTo) = command.next(deadline: soon()) else {
                            throw TestFailure("stdin stands still at \(taken)")
                        }
                        taken = Int(upTo)
                    }
                }
                // What was sent already is skipped.
                try command.write(offset: UInt64(sent - 10), Array(bytes.suffix(10)))
                try command.closeStdin()
                let done = try command.finish()
                try Files.write("\(box.directory)/expected", bytes)
                let expected = try shell("sha256sum \(box.directory)/expected")
                #expect(done.stdout.prefix(64) == expected.prefix(64))
            }
        }

        @Test func aQuietCommandTakesStdinAndTellsItsEnd() throws {
            try inSandbox { box in
                var spec = box.spec("a", "wc", "-c")
                spec.stdin = true
                spec.announced = false
                let command = try box.start(spec)
                #expect(command.stdinOffset == 0)
                try command.write(offset: 0, [UInt8](repeating: 1, count: 500_000))
                try command.closeStdin()
                #expect(try command.finish().stdout == "500000\n")
                spec = box.spec("b", "true")
                spec.announced = false
                try box.start(spec).waitUntilStarted(deadline: soon())
            }
        }

        @Test func stdinOfAProgramThatDoesNotReadIsTaken() throws {
            try inSandbox { box in
                var spec = box.script("a", "exec <&-; echo closed; sleep 1000")
                spec.stdin = true
                let command = try box.start(spec)
                _ = try command.read(until: "closed")
                try command.write(offset: 0, [UInt8](repeating: 1, count: 200_000))
                var taken: UInt64 = 0
                while taken < 200_000, case .stdinTaken(let upTo)? = command.next(deadline: soon()) {
                    taken = upTo
                }
                #expect(taken == 200_000)
            }
        }

        @Test func muchOutputIsComplete() throws {
            try inSandbox { box in
                let done = try box.run(box.script("a", "seq 1 300000; echo end >&2"))
                #expect(done.stdout.utf8.count == 1_988_895)
                #expect(done.stdout.hasSuffix("\n300000\n"))
                #expect(done.stderr == "end\n")
            }
        }

        @Test func nobodyReadsAndThenSomebodyDoes() throws {
            try inSandbox { box in
                let command = try box.start(box.script("a", "seq 1 100000"))
                // Two rings and a pipe are less than what it prints: it must be waiting now.
                usleep(100_000)
                #expect(try box.channel.list(deadline: soon()).commands.first?.hasEnded == false)
                try #expect(command.finish().stdout.hasSuffix("\n100000\n"))
            }
        }

        @Test func anIdThatRunsIsAttachedTo() throws {
            try inSandbox { box in
                let spec = box.script("same", "echo $$; read x < /tmp/never || sleep 0.2; echo done")
                try box.run(box.script("fifo", "mkfifo /tmp/never"))
                let first = try box.start(spec)
                let pid = try first.read(until: "\n")
                let second = try box.channel.start(spec, from: (UInt64(pid.utf8.count), 0), deadline: soon())
                guard case .failed(let error)? = first.next(deadline: soon()) else {
                    throw TestFailure("the first follower was not told")
                }
                #expect(error.code == .inUse)
                try box.run(box.script("go", "echo > /tmp/never"))
                #expect(try second.finish().stdout == "done\n")
            }
        }

        @Test func aDaemonDoesNotHoldTheCommandOpen() throws {
            try inSandbox { box in
                let done = try box.run(
                    box.script(
                        "a", "(trap '' HUP; while :; do echo tick || exit; sleep 0.01; done) & echo main"))
                #expect(done.stdout.hasPrefix("main\n") || done.stdout.contains("\nmain\n"))
                #expect(done.code == 0)
                // Forgotten by now: its output goes nowhere, but it goes.
                usleep(50_000)
                // While it is about to start `sleep` there are two: that is looked at again.
                let count =
                    "for i in 1 2 3 4 5; do n=$(ps ax | grep -c 'tic[k]'); [ $n = 1 ] && break; done; echo $n"
                #expect(try box.run(box.script("b", count)).stdout == "1\n")
            }
        }

        @Test func theUserIsTheSandboxes() throws {
            try inSandbox { box in
                func identity(_ user: String) throws -> String {
                    var spec = box.spec("who", "id")
                    spec.user = try SandboxUser.find(user, inSandboxOf: box.process.pid)
                    return try box.run(spec).stdout
                }
                try #expect(
                    identity("sandy") == "uid=1234(sandy) gid=1235(sandy) groups=1235(sandy),46(plug)\n")
                try #expect(identity("1234:46") == "uid=1234(sandy) gid=46(plug) groups=46(plug)\n")
                try #expect(identity("4321") == "uid=4321 gid=0(root) groups=0(root)\n")
                #expect(throws: CommandError.unknownUser("nobody-here")) {
                    try SandboxUser.find("nobody-here", inSandboxOf: box.process.pid)
                }
            }
        }

        @Test func killAllLeavesPID1() throws {
            try inSandbox { box in
                let commands = try (0..<5).map {
                    try box.start(box.script("s\($0)", "echo up; exec sleep 1000"))
                }
                for command in commands { _ = try command.read(until: "up") }
                try box.channel.killAll(signal: SIGKILL, deadline: soon())
                for command in commands { try #expect(command.finish().result.signal == SIGKILL) }
                try #expect(box.run(box.spec("after", "true")).code == 0)
            }
        }

        @Test func manyCommandsOneAfterTheOther() throws {
            try inSandbox { box in
                // Nobody forgets them: PID 1's table must not fill up.
                for number in 0..<600 {
                    try #expect(box.start(box.spec("c\(number)", "true")).finish().code == 0)
                }
                try #expect(box.channel.list(deadline: soon()).commands.count <= CKPT_INIT_COMMANDS)
            }
        }
    }
}
