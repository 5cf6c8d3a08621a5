import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SandboxRuntime

extension CommandSuite {
    @Suite struct Terminals {
        private func terminal(_ spec: CommandSpec, rows: UInt16 = 24, columns: UInt16 = 80) -> CommandSpec {
            var spec = spec
            spec.terminal = .init(rows: rows, columns: columns)
            return spec
        }

        @Test func sizeNameAndControl() throws {
            try inSandbox { box in
                let script = box.script(
                    "a", "tty; stty size; ps -o tty=,pgid=,tpgid= -p $$; echo err >&2; exit 3")
                let done = try box.run(terminal(script, rows: 33, columns: 77))
                let lines = done.stdout.split(separator: "\r\n").map(String.init)
                #expect(lines[0] == "/dev/pts/0")
                #expect(lines[1] == "33 77")
                let fields = lines[2].split(separator: " ")
                #expect(fields[0] == "pts/0" && fields[1] == fields[2], "in the foreground: \(lines[2])")
                #expect(lines[3] == "err")
                #expect(done.code == 3 && done.stderr == "")
            }
        }

        @Test func resizeIsSignalled() throws {
            try inSandbox { box in
                let command = try box.start(
                    terminal(
                        box.spec(
                            "a", "/bin/bash", "-c",
                            "trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.05; done")))
                _ = try command.read(until: "up\r\n")
                try command.resize(rows: 50, columns: 132)
                #expect(try command.finish().stdout == "50 132\r\n")
            }
        }

        @Test func typedLinesEchoAndEnd() throws {
            try inSandbox { box in
                let command = try box.start(terminal(box.spec("a", "cat")))
                try command.write(offset: 0, Array("hello\n".utf8))
                _ = try command.read(until: "hello\r\nhello\r\n")
                try command.closeStdin()
                let done = try command.finish()
                #expect(done.code == 0, "\(done)")
            }
        }

        @Test func aTerminalNobodyHasOpenMayBeOpenedAgain() throws {
            try inSandbox { box in
                let text = "echo before; exec 0<&- 1>&- 2>&-; sleep 0.1; exec 1>/dev/tty; echo after; exit 5"
                let done = try box.run(terminal(box.script("a", text)))
                #expect(done.stdout == "before\r\nafter\r\n" && done.code == 5)
            }
        }

        @Test func controlCInterrupts() throws {
            try inSandbox { box in
                let command = try box.start(terminal(box.script("a", "echo up; exec sleep 1000")))
                _ = try command.read(until: "up\r\n")
                try command.write(offset: 0, [3])
                #expect(try command.finish().result.signal == SIGINT)
            }
        }

        @Test func muchOutputIsComplete() throws {
            try inSandbox { box in
                let done = try box.run(terminal(box.script("a", "seq 1 50000")))
                #expect(done.stdout.hasSuffix("\r\n50000\r\n"))
                #expect(done.stdout.utf8.count == 338_894)
            }
        }

        @Test func lastWordsAreNotLost() throws {
            try inSandbox { box in
                for number in 0..<200 {
                    try #expect(
                        box.run(terminal(box.spec("a\(number)", "echo", "word"))).stdout == "word\r\n")
                }
            }
        }

        @Test func belongsToItsUser() throws {
            try inSandbox { box in
                var spec = terminal(box.script("a", "stat -c %u $(tty); echo x > $(tty)"))
                spec.user = try SandboxUser.find("sandy", inSandboxOf: box.process.pid)
                #expect(try box.run(spec).stdout == "1234\r\nx\r\n")
            }
        }

        @Test func forgettingHangsUp() throws {
            try inSandbox { box in
                try box.run(box.script("fifo", "mkfifo /tmp/gone"))
                let shell = try box.start(
                    terminal(
                        box.spec(
                            "a", "/bin/bash", "-c",
                            "(trap 'echo hup > /tmp/gone; exit' HUP; echo up; while :; do sleep 0.01; done) & sleep 0.2"
                        )))
                _ = try shell.finish()
                shell.forget()
                // The child outlived its shell, which was the session's leader: the kernel hung up then already, or
                // PID 1 did now.
                try #expect(box.run(box.script("b", "cat /tmp/gone")).stdout == "hup\n")
            }
        }
    }
}
