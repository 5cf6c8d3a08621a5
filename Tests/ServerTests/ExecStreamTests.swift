import Glibc
import LinuxSystem
import Messages
import Server
import ServerFixture
import Testing

@testable import Client

struct ExecStreamTests {
    private func request(_ argv: [String], id: String? = nil, interactive: Bool = false) -> ExecRequest {
        var request = ExecRequest(argv: argv)
        request.id = id
        request.interactive = interactive
        return request
    }

    /// Reads to the end; whether stdout was the pattern from its first byte on.
    private func follow(_ stream: ExecStream) throws -> (bytes: UInt64, whole: Bool, result: ExecResult) {
        var offset: UInt64 = 0
        var whole = true
        while true {
            switch try stream.next() {
            case .output(_, let bytes):
                whole = whole && Array(bytes) == Pattern.bytes(at: offset, bytes.count)
                offset += UInt64(bytes.count)
            case .exited(let result): return (offset, whole, result)
            }
        }
    }

    @Test func sixtyFourMebibytesBothWays() throws {
        try TestServer.run { (server) throws in
            let total = 64 << 20
            let stream = try server.client.attach("box", request(["echo"], interactive: true))
            startThread {
                var sent = 0
                while sent < total {
                    // A size that fits no boundary of the way.
                    let part = Pattern.bytes(at: UInt64(sent), min(77_777, total - sent))
                    guard stream.write(part) else { return }
                    sent += part.count
                }
                stream.closeStdin()
            }
            let end = try follow(stream)
            #expect(end.bytes == UInt64(total))
            #expect(end.whole)
            #expect(end.result.id == stream.id)
        }
    }

    @Test func aClientThatDoesNotReadHoldsTheCommandBack() throws {
        try TestServer.run { (server) throws in
            let stream = try server.client.attach("box", request(["pattern", "\(64 << 20)"], id: "slow"))
            // Everything that fits is under way by then; if more came later, the limit below would show it
            // too.
            usleep(300_000)
            stream.detach()
            _ = try? follow(stream)
            let line = try #require(server.engine.line(beginning: "detached slow with "))
            let sent = try #require(Int(line.split(separator: " ")[3]))
            #expect(sent > 0)
            #expect(sent < 2 << 20)
        }
    }

    @Test func whatWasSeenIsNotSentAgain() throws {
        try TestServer.run { (server) throws in
            var again = request(["pattern", "1000000"])
            again.stdoutOffset = 999_990
            let stream = try server.client.attach("box", again)
            guard case .output(.stdout, let bytes) = try stream.next() else {
                Issue.record("no output")
                return
            }
            #expect(Array(bytes) == Pattern.bytes(at: 999_990, 10))
        }
    }

    @Test func signalsAndSizesArrive() throws {
        try TestServer.run { (server) throws in
            var terminal = request(["echo"], id: "tty", interactive: true)
            terminal.tty = true
            (terminal.rows, terminal.columns) = (24, 80)
            let stream = try server.client.attach("box", terminal)
            #expect(server.engine.waits(for: "attached tty at 0 24x80"))
            stream.resize(rows: 50, columns: 132)
            #expect(server.engine.waits(for: "resized 50x132"))
            stream.signal(SIGINT)
            #expect(try follow(stream).result.exitCode == 130)
            #expect(!stream.write([1]))
        }
    }

    @Test func errorsBeforeAndAfterTheStart() throws {
        try TestServer.run { (server) throws in
            let client = server.client
            let sandbox = errorOf { () throws(ErrorMessage) in
                _ = try client.attach("nobody", request(["echo"]))
            }
            #expect(sandbox == ErrorMessage(.unknownSandbox, "there is no sandbox nobody"))
            let command = errorOf { () throws(ErrorMessage) in _ = try client.attach("box", request(["what"]))
            }
            #expect(command?.code == .notFound)
            let stream = try client.attach("box", request(["break"]))
            let broken = errorOf { () throws(ErrorMessage) in _ = try stream.next() }
            #expect(broken == ErrorMessage(.wrongState, "the sandbox died"))
        }
    }

    @Test func aClientThatVanishesIsDetached() throws {
        try TestServer.run { (server) throws in
            var stream: ExecStream? = try server.client.attach(
                "box", request(["echo"], id: "gone", interactive: true))
            stream?.write(Array("abc".utf8))
            #expect(server.engine.waits(for: "attached gone at 0"))
            stream = nil
            #expect(server.engine.line(beginning: "detached gone") != nil)
            // The command lives: another client takes it up where the first left it.
            let again = try server.client.attach("box", request(["echo"], id: "gone", interactive: true))
            again.write(Array("def".utf8))
            again.closeStdin()
            #expect(try follow(again).bytes == 6)
        }
    }

    @Test func framesThatBreakTheRules() throws {
        let start = try JSONText.encode(request(["echo"], id: "rules", interactive: true))
        let first = ExecFrame.encode(ExecFrame.FromClient.request.rawValue, start)
        let cases: [(name: String, frames: [UInt8])] = [
            ("too long", [0x7f, 0, 0, 0, 1]),
            ("not first", ExecFrame.signal(2)),
            ("no JSON", ExecFrame.encode(0, Array("nonsense".utf8))),
            ("two requests", first + first),
            ("unknown type", first + ExecFrame.encode(99, [])),
            ("short signal", first + ExecFrame.encode(ExecFrame.FromClient.signal.rawValue, [1])),
            ("stdin without offset", first + ExecFrame.encode(ExecFrame.FromClient.stdin.rawValue, [1])),
            ("beyond the window", first + ExecFrame.encode(1, offset: 1 << 20, [1])),
            ("beyond all numbers", first + ExecFrame.encode(1, offset: .max, [1])),
        ]
        try TestServer.run { (server) throws in
            for (name, frames) in cases {
                let socket = try server.connect()
                try socket.send(
                    "GET /v1/sandboxes/box/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                        + "Upgrade: ckpt-exec\r\n\r\n")
                try? socket.sendAll(frames)
                let answer = socket.readToEnd()
                #expect(answer.hasPrefix("HTTP/1.1 101 "), "\(name)")
                #expect(answer.contains("\"code\":\"bad_request\""), "\(name)")
            }
            #expect(try server.client.version().api == "v1")
        }
    }

    @Test func aStreamWithoutARequestIsGivenUp() throws {
        var limits = ServerLimits()
        limits.requestSeconds = 1
        try TestServer.run(limits: limits) { (server) throws in
            let socket = try server.connect()
            try socket.send(
                "GET /v1/sandboxes/box/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                    + "Upgrade: ckpt-exec\r\n\r\n")
            #expect(socket.readToEnd().hasPrefix("HTTP/1.1 101 "))
        }
    }

    @Test func framesSentWithTheRequestLineAreNotLost() throws {
        try TestServer.run { (server) throws in
            let socket = try server.connect()
            let start = try JSONText.encode(request(["pattern", "5"], id: "early"))
            try socket.sendAll(
                Array(
                    ("GET /v1/sandboxes/box/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                        + "Upgrade: ckpt-exec\r\n\r\n").utf8)
                    + ExecFrame.encode(ExecFrame.FromClient.request.rawValue, start))
            #expect(socket.readToEnd().contains("\"exitCode\":0"))
        }
    }

    @Test func fiftyStreamsAtOnce() throws {
        try TestServer.run { (server) throws in
            let done = Monitor<[Bool]>([])
            for _ in 0..<50 {
                let stream = try server.client.attach("box", request(["pattern", "3000000"]))
                startThread {
                    let end = try? follow(stream)
                    done.with(wake: true) { $0.append(end?.bytes == 3_000_000 && end?.whole == true) }
                }
            }
            let all = done.wait(until: monotonicNanoseconds() + 60_000_000_000) { $0.count == 50 ? $0 : nil }
            #expect(all?.allSatisfy { $0 } == true)
        }
    }
}
