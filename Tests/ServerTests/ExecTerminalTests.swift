import Foundation
import LinuxSystem
import ServerFixture
import Testing

/// `ExecTerminal` in a process of its own, with pipes and with a terminal.
struct ExecTerminalTests {
    /// A started `exec`, its stdin and stdout.
    private struct Run {
        let process = Process()
        let input = Foundation.Pipe()
        let output = Foundation.Pipe()

        init(_ server: TestServer, _ arguments: [String], terminal: Int32? = nil) throws {
            process.executableURL = URL(fileURLWithPath: try TestServer.program())
            process.arguments = ["exec", "--root", server.root.path] + arguments
            if let terminal {
                let handle = FileHandle(fileDescriptor: terminal)
                (process.standardInput, process.standardOutput) = (handle, handle)
            } else {
                (process.standardInput, process.standardOutput) = (input, output)
            }
            try process.run()
        }

        func code() -> Int32 {
            process.waitUntilExit()
            return process.terminationStatus
        }
    }

    @Test func stdinAndStdoutGoThrough() throws {
        try TestServer.run { (server) throws in
            let run = try Run(server, ["-i", "--id", "copy", "echo"])
            let all = Pattern.bytes(at: 0, 5_000_000)
            let handle = run.input.fileHandleForWriting
            startThread {
                try? handle.write(contentsOf: Data(all))
                try? handle.close()
            }
            #expect(Array(run.output.fileHandleForReading.readDataToEndOfFile()) == all)
            #expect(run.code() == 0)
        }
    }

    @Test(arguments: [SIGINT, SIGTERM, SIGQUIT])
    func signalsReachTheCommand(number: Int32) throws {
        try TestServer.run { (server) throws in
            let run = try Run(server, ["-i", "--id", "signalled", "echo"])
            #expect(server.engine.waits(for: "attached signalled at 0"))
            kill(run.process.processIdentifier, number)
            #expect(run.code() == 128 + number)
        }
    }

    @Test func aHangUpIsPassedOnAndEndsTheFollowing() throws {
        try TestServer.run { (server) throws in
            let run = try Run(server, ["-i", "--id", "hung", "echo"])
            #expect(server.engine.waits(for: "attached hung at 0"))
            kill(run.process.processIdentifier, SIGHUP)
            // The command's own end may be told before the following stops.
            #expect([125, 128 + SIGHUP].contains(run.code()))
            #expect(server.engine.line(beginning: "detached hung") != nil)
        }
    }

    @Test func aReaderThatLeavesEndsTheCommandWithSIGPIPE() throws {
        try TestServer.run { (server) throws in
            let run = try Run(server, ["--id", "piped", "pattern", "100000000"])
            _ = run.output.fileHandleForReading.readData(ofLength: 10)
            try run.output.fileHandleForReading.close()
            #expect(run.code() == 128 + SIGPIPE)
        }
    }

    @Test func aTerminalIsRawForTheWhileAndFollowsItsSize() throws {
        try TestServer.run { (server) throws in
            let terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)
            defer { close(terminal) }
            try #require(grantpt(terminal) == 0 && unlockpt(terminal) == 0)
            let other = open(try #require(ptsname(terminal)), O_RDWR | O_NOCTTY | O_CLOEXEC)
            defer { close(other) }
            var size = winsize(ws_row: 30, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0)
            try #require(ioctl(terminal, UInt(TIOCSWINSZ), &size) == 0)
            let run = try Run(server, ["-i", "-t", "--id", "keys", "echo"], terminal: other)
            #expect(server.engine.waits(for: "attached keys at 0 30x90"))

            // Raw by the time keys are read: Ctrl-C is a byte, and comes back as what the command printed.
            let pid = run.process.processIdentifier
            let deadline = monotonicNanoseconds() + 20_000_000_000
            while isCooked(other), monotonicNanoseconds() < deadline { usleep(1000) }
            #expect(write(terminal, "a\u{3}\r", 3) == 3)
            var echoed: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 100)
            while echoed.count < 3 {
                let count = read(terminal, &buffer, buffer.count)
                try #require(count > 0)
                echoed += buffer[..<count]
            }
            #expect(echoed == Array("a\u{3}\r".utf8))

            size = winsize(ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0)
            try #require(ioctl(terminal, UInt(TIOCSWINSZ), &size) == 0)
            // It is not that terminal's foreground process, so the kernel does not say it.
            kill(pid, SIGWINCH)
            #expect(server.engine.waits(for: "resized 40x100"))
            kill(pid, SIGTERM)
            #expect(run.code() == 128 + SIGTERM)
            #expect(isCooked(other))
        }
    }

    private func isCooked(_ terminal: Int32) -> Bool {
        var settings = termios()
        return tcgetattr(terminal, &settings) == 0 && settings.c_lflag & UInt32(ICANON) != 0
    }
}
