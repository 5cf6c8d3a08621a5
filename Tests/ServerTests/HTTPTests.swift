import Foundation
import LinuxSystem
import Messages
@testable import Server
import Testing

@testable import Client

/// What clients of any kind may throw at the socket.
struct HTTPTests {
    private func exchange(_ server: TestServer, _ request: String) throws -> String {
        let socket = try server.connect()
        try socket.send(request)
        return socket.readToEnd()
    }

    private func get(_ server: TestServer, _ method: String, _ path: String, _ body: String = "") throws
        -> String
    {
        let length = "Content-Length: \(body.utf8.count)\r\n"
        return try exchange(
            server, "\(method) \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\(length)\r\n\(body)")
    }

    @Test(arguments: [
        ("GET", "/", 404, "not_found"), ("GET", "/v1/sandboxes/", 404, "not_found"),
        ("GET", "/v2/version", 404, "not_found"), ("GET", "/v1/sandboxes/a/b/c", 404, "not_found"),
        ("DELETE", "/v1/version", 405, "bad_request"), ("PATCH", "/v1/sandboxes/box", 405, "bad_request"),
        ("GET", "/v1/sandboxes/%zz", 400, "bad_request"), ("GET", "/v1/sandboxes/%00", 400, "bad_request"),
        ("GET", "/v1/sandboxes/%ff", 400, "bad_request"), ("GET", "/v1/version?x=1", 400, "bad_request"),
        ("DELETE", "/v1/sandboxes/box?force=maybe", 400, "bad_value"),
        ("DELETE", "/v1/sandboxes/box?force=true&force=true", 400, "bad_request"),
        ("GET", "/v1/sandboxes/box/archive", 400, "bad_request"),
        ("PUT", "/v1/sandboxes/box/archive", 400, "bad_request"),
        ("GET", "/v1/sandboxes/box/attach", 426, "bad_request"),
        ("GET", "/v1/sandboxes/nobody", 404, "unknown_sandbox"),
    ])
    func refusals(method: String, path: String, status: Int, code: String) throws {
        try TestServer.run { (server) throws in
            let answer = try get(server, method, path)
            #expect(answer.hasPrefix("HTTP/1.1 \(status) "))
            #expect(answer.contains("\"code\":\"\(code)\""))
        }
    }

    @Test func aWrongMethodIsToldTheRightOnes() throws {
        try TestServer.run { (server) throws in
            #expect(try get(server, "PUT", "/v1/sandboxes").contains("Allow: GET, POST\r\n"))
        }
    }

    @Test(arguments: [
        ("{\"spec\":", "the body is no JSON"), ("[]", "the whole body"), ("{\"spec\":7}", "field spec has"),
        ("{\"spec\":{\"env\":{\"A\":1}}}", "field spec.env.A has"),
        ("{\"name\":[]}", "field name has the wrong type"),
        (String(repeating: "[", count: 1_000_000), "the body is no JSON"),
        (String(repeating: "{\"spec\":", count: 1_000_000), "the body is no JSON"),
    ])
    func aBadBodyIsAnsweredWithTheField(body: String, message: String) throws {
        try TestServer.run { (server) throws in
            let answer = try get(server, "POST", "/v1/sandboxes", body)
            #expect(answer.hasPrefix("HTTP/1.1 400 "))
            #expect(answer.contains(message))
        }
    }

    @Test func aTargetMayNameTheServer() throws {
        try TestServer.run { (server) throws in
            #expect(try get(server, "GET", "http://x/v1/version").hasPrefix("HTTP/1.1 200 "))
            #expect(try get(server, "GET", "http://x").hasPrefix("HTTP/1.1 400 "))
        }
    }

    @Test func aMissingFieldIsNamed() throws {
        try TestServer.run { (server) throws in
            #expect(try get(server, "POST", "/v1/fork", "{}").contains("field source is missing"))
            #expect(try get(server, "POST", "/v1/fork").contains("field source is missing"))
        }
    }

    @Test func bodiesAreLimited() throws {
        try TestServer.run { (server) throws in
            let announced = try exchange(
                server, "POST /v1/fork HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
            #expect(announced.hasPrefix("HTTP/1.1 413 "))
            let socket = try server.connect()
            try socket.send("POST /v1/fork HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            let chunk = "100000\r\n" + String(repeating: "x", count: 1 << 20) + "\r\n"
            for _ in 0..<9 { try socket.send(chunk) }
            try socket.send("0\r\n\r\n")
            #expect(String(decoding: try socket.read(upTo: 4096), as: UTF8.self).hasPrefix("HTTP/1.1 413 "))
        }
    }

    @Test func aBodyWithoutEndIsCutOff() throws {
        try TestServer.run { (server) throws in
            let socket = try server.connect()
            try socket.send("POST /v1/fork HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            let chunk = Array(("100000\r\n" + String(repeating: "x", count: 1 << 20) + "\r\n").utf8)
            var sent = 0
            while sent < 200, (try? socket.sendAll(chunk)) != nil { sent += 1 }
            #expect(sent < 100)
        }
    }

    @Test func anEmptyBodyAndEmptyObjectsMeanDefaults() throws {
        try TestServer.run { (server) throws in
            #expect(try get(server, "POST", "/v1/sandboxes").contains("\"base\":\"host\""))
            #expect(try get(server, "POST", "/v1/sandboxes/box/save").hasPrefix("HTTP/1.1 200 "))
            let partial = "{\"name\":\"n\",\"spec\":{\"workdir\":\"/w\"}}"
            #expect(try get(server, "POST", "/v1/sandboxes", partial).contains("\"workdir\":\"/w\""))
        }
    }

    @Test func oneConnectionTakesManyRequests() throws {
        try TestServer.run { (server) throws in
            let socket = try server.connect()
            // Pipelined, errors among them: the connection stays.
            for path in ["/v1/version", "/v1/nothing", "/v1/version"] {
                try socket.send("GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n")
            }
            try socket.send("GET /v1/sandboxes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            let answers = socket.readToEnd().components(separatedBy: "HTTP/1.1 ").dropFirst()
            #expect(answers.map { String($0.prefix(3)) } == ["200", "404", "200", "200"])
        }
    }

    private static let garbage: [String: String] = [
        "zeros": "\0\0\0\0\r\n\r\n", "only a method": "GET\r\n\r\n", "TLS": "\u{16}\u{3}\u{1}hello",
        "HTTP of the future": "GET /v1/version HTTP/9.9\r\n\r\n",
        "no chunk": "POST /v1/fork HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "negative length": "POST /v1/fork HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "endless path": "GET /\(String(repeating: "x", count: 300_000)) HTTP/1.1\r\n\r\n",
        "endless header": "GET /v1/version HTTP/1.1\r\n\(String(repeating: "A: b\r\n", count: 100_000))\r\n",
    ]

    @Test(arguments: garbage.keys.sorted())
    func garbageHurtsNobodyElse(name: String) throws {
        try TestServer.run { (server) throws in
            let socket = try server.connect()
            try? socket.sendAll(Array(HTTPTests.garbage[name]!.utf8))
            shutdown(socket.raw, Int32(SHUT_WR))
            let answer = socket.readToEnd()
            #expect(answer.isEmpty || answer.hasPrefix("HTTP/1."))
            #expect(!answer.contains(" 200 "))
            #expect(try server.client.version().api == "v1")
        }
    }

    @Test func incompleteRequestsAreGivenUp() throws {
        var limits = ServerLimits()
        limits.requestSeconds = 1
        try TestServer.run(limits: limits) { (server) throws in
            let starts = [
                "", "GET /v1/ver", "GET /v1/version HTTP/1.1\r\nHost",
                "POST /v1/fork HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
            ]
            for start in starts {
                let socket = try server.connect()
                try socket.send(start)
                // Returns only because the server closes.
                #expect(!socket.readToEnd().contains(" 200 "))
            }
        }
    }

    @Test func anIdleKeptConnectionStays() throws {
        var limits = ServerLimits()
        limits.requestSeconds = 1
        try TestServer.run(limits: limits) { (server) throws in
            let socket = try server.connect()
            let request = "GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n"
            try socket.send(request)
            #expect(try !socket.read(upTo: 4096).isEmpty)
            usleep(2_500_000)
            try socket.send(request)
            #expect(try !socket.read(upTo: 4096).isEmpty)
        }
    }

    @Test func aLongCallOutlivesTheTimeoutOfRequests() throws {
        var limits = ServerLimits()
        limits.requestSeconds = 1
        limits.stallSeconds = 1
        try TestServer.run(limits: limits) { (server) throws in
            let client = server.client
            var request = ExecRequest(argv: ["sleep"])
            request.timeout = 2.5
            #expect(try client.exec("box", request).exitCode == 0)
        }
    }

    @Test func twoHundredConnectionsAtOnce() throws {
        try TestServer.run { (server) throws in
            var sockets: [Int32] = []
            defer { sockets.forEach { close($0) } }
            for _ in 0..<200 { sockets.append(try server.connect().release()) }
            let request = Array("GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
            for _ in 0..<3 {
                for socket in sockets { #expect(write(socket, request, request.count) == request.count) }
                for socket in sockets.reversed() {
                    var buffer = [UInt8](repeating: 0, count: 4096)
                    #expect(read(socket, &buffer, buffer.count) > 0)
                    #expect(buffer.starts(with: Array("HTTP/1.1 200 ".utf8)))
                }
            }
        }
    }

    private static let version = "GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n"

    @Test func whoIsSilentForTheLongestMakesRoom() throws {
        var limits = ServerLimits()
        limits.connections = 3
        try TestServer.run(limits: limits) { (server) throws in
            // The answer is here before the server has put the connection among those that may go.
            func waitUntilIdle(_ count: Int) throws {
                let deadline = monotonicNanoseconds() + 60_000_000_000
                while server.server.idleConnectionCount != count, monotonicNanoseconds() < deadline {
                    usleep(1000)
                }
                try #require(server.server.idleConnectionCount == count)
            }
            func kept(idle: Int = 3) throws -> Int32 {
                let socket = try server.connect()
                try socket.send(Self.version)
                #expect(try socket.read(upTo: 4096).starts(with: Array("HTTP/1.1 200 ".utf8)))
                try waitUntilIdle(idle)
                return socket.release()
            }
            func isClosed(_ socket: Int32) -> Bool {
                var byte: UInt8 = 0
                // Returns only because the server closes.
                return recv(socket, &byte, 1, 0) == 0
            }
            var sockets = [try kept(idle: 1)]
            defer { sockets.forEach { close($0) } }
            let slow = try server.connect()
            try slow.send("GET /v1/vers")
            sockets += [slow.release(), try server.connect().release()]
            try waitUntilIdle(3)
            for oldest in 0..<3 {
                sockets.append(try kept())
                #expect(isClosed(sockets[oldest]))
            }
        }
    }

    @Test func anUnfinishedBodyLocksNobodyOut() throws {
        var limits = ServerLimits()
        limits.connections = 1
        try TestServer.run(limits: limits) { (server) throws in
            let unfinished = try server.connect()
            try unfinished.send("POST /v1/fork HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            #expect(try server.client.version().api == "v1")
            #expect(!unfinished.readToEnd().contains(" 200 "))
        }
    }

    @Test func whoWaitsForAnAnswerKeepsItsConnection() throws {
        var limits = ServerLimits()
        limits.connections = 3
        try TestServer.run(limits: limits) { (server) throws in
            let body = "{\"argv\":[\"hang\"]}"
            let waiting = try (0..<3).map { _ in try Hanging(server, body) }
            #expect(server.engine.waits(for: "hangs", times: waiting.count))
            let excess = try server.connect()
            try excess.send(Self.version)
            let answer = excess.readToEnd()
            #expect(answer.contains(" 503 ") && answer.contains("3 requests under way"))
            for one in waiting { try one.endsWithoutAnAnswer() }
            let deadline = monotonicNanoseconds() + 20_000_000_000
            while (try? server.client.version()) == nil && monotonicNanoseconds() < deadline { usleep(1000) }
            #expect(try server.client.version().api == "v1")
        }
    }

    /// A call that ends when its client hangs up.
    private final class Hanging {
        private let socket: Int32
        init(_ server: TestServer, _ body: String) throws {
            let connection = try server.connect()
            try connection.send(
                "POST /v1/sandboxes/box/exec HTTP/1.1\r\nHost: x\r\n"
                    + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
            socket = connection.release()
        }

        /// It must be there until now.
        func endsWithoutAnAnswer() throws {
            var byte: UInt8 = 0
            #expect(recv(socket, &byte, 1, Int32(MSG_DONTWAIT)) < 0 && errno == EAGAIN)
            close(socket)
        }
    }

    @Test func aReadingHalfThatTheServerClosedIsNoHangUp() throws {
        for own in [true, false] {
            var ends: [Int32] = [0, 0]
            try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
            defer { close(ends[0]) }
            let cancelled = Cancellation(watching: ends[0])
            #expect(shutdown(own ? ends[0] : ends[1], Int32(own ? SHUT_RD : SHUT_WR)) == 0)
            #expect(!cancelled.isCancelled)
            close(ends[1])
            #expect(cancelled.isCancelled)
        }
    }

    @Test func aClientThatHangsUpCancelsItsCall() throws {
        try TestServer.run { (server) throws in
            do {
                let socket = try server.connect()
                let body = "{\"argv\":[\"hang\"]}"
                try socket.send(
                    "POST /v1/sandboxes/box/exec HTTP/1.1\r\nHost: x\r\n"
                        + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
                #expect(server.engine.waits(for: "hangs"))
            }
            #expect(server.engine.waits(for: "cancelled"))
        }
    }
}
