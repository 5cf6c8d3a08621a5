import Foundation
import Messages
import Testing

/// Calls in a session that the server makes without PID 1: requests without an id, several in a row.
@Suite struct DirectCallTests {
    /// `times` calls one after the other on a connection of its own; curl runs on.
    private func begin(_ text: String, times: Int, in box: Sandbox) throws -> RunningCommand {
        let body = String(
            decoding: try JSONEncoder().encode(["command": text, "session": "main"]), as: UTF8.self)
        let target = "http://ckpt/v1/sandboxes/\(box.name)/exec"
        return try RunningCommand(
            ["curl", "-s", "--unix-socket", box.ckpt.socket, "-w", "\\n", "-d", body]
                + Array(repeating: target, count: times))
    }

    /// What each of them printed.
    private func end(_ calls: RunningCommand) throws -> [String] {
        try calls.wait().lines.map { line in
            let result = try JSONDecoder().decode(ExecResult.self, from: Data(line.utf8))
            #expect(result.exitCode == 0, "\(line)")
            return (result.stdout ?? "").trimmingCharacters(in: .newlines)
        }
    }

    private func call(_ text: String, times: Int = 1, in box: Sandbox) throws -> [String] {
        try end(begin(text, times: times, in: box))
    }

    private let count = "n=$((n+1)); echo $n"

    @Test func theSessionIsTheSameOne() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("one")
            #expect(try call(count, times: 20, in: box) == (1...20).map(String.init))
            // By its id one is PID 1's; and so is the next, which finds what the others left.
            #expect(try box.exec("echo", "$n", options: ["--session", "main"]).stdout == "20\n")
            #expect(try call(count, times: 5, in: box).last == "25")
            let saved = try box.save()
            #expect(try call(count, times: 10, in: box).last == "35")
            let twin = try ckpt.fork(saved)[0]
            #expect(try call(count, times: 5, in: twin).last == "30")
            #expect(try call(count, times: 5, in: box).last == "40")
            try box.restore(saved)
            #expect(try call(count, times: 5, in: box).last == "30")
            try ckpt.ok("pause", "one")
            let waiting = try begin(count, times: 1, in: box)
            let refused = waiting.wait().stdout
            #expect(refused.contains("is paused"), "\(refused)")
            try ckpt.ok("unpause", "one")
            #expect(try call(count, times: 5, in: box).last == "35")
            // Whatever a call leaves behind runs on, and a call that takes long is told of.
            #expect(try call("sleep 1000 & :", times: 5, in: box).count == 5)
            let long = try begin("sleep 1; echo late", times: 1, in: box)
            _ = try box.save()
            #expect(try end(long) == ["late"])
            #expect(try call("pgrep -c sleep", times: 5, in: box) == Array(repeating: "5", count: 5))
        }
    }

    /// Callers that come at once have one session, and each of their calls is made once, whatever else is done with it.
    @Test func eachCallIsMadeOnce() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("many")
            let callers = try (0..<4).map { _ in try begin(count, times: 200, in: box) }
            for round in 0..<6 {
                _ = try box.save()
                #expect(
                    try box.exec("echo", "\(round)", options: ["--session", "main"]).stdout == "\(round)\n")
                try ckpt.ok("ps")
            }
            let told = try callers.flatMap { try end($0) }.compactMap { Int($0) }
            #expect(told.sorted() == Array(1...800))
        }
    }

    /// The session outlives the server, which had borrowed it.
    @Test func aServerThatIsKilledLeavesTheSession() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("left")
            for round in 1...3 {
                #expect(try call(count, times: 5, in: box).last == "\(round * 5)")
                let server = try #require(ckpt.serverPID)
                kill(server, SIGKILL)
                #expect(eventually { kill(server, 0) != 0 })
                try ckpt.ok("ps")
            }
            #expect(try call(count, times: 5, in: box).last == "20")
        }
    }
}
