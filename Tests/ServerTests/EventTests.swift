import Glibc
import LinuxSystem
import Messages
import Telemetry
import Testing

@testable import Client
@testable import Server

/// The stream of events and the port of numbers, over the real server.
struct EventTests {
    @Test func aReaderGetsWhatItAskedForAndComesBackWithoutALoss() throws {
        try TestServer.run { server in
            _ = try server.client.kill("box", KillRequest(signal: 9))
            server.telemetry.emit(.saved) { $0.sandbox = "box" }
            server.telemetry.emit(.saved) { $0.sandbox = "other" }
            server.telemetry.emit(.oom) { $0.sandbox = "box" }
            var seen: [Event] = []
            try server.client.events(since: 0, filter: EventFilter(sandbox: "box"), follow: false) { event in
                seen.append(event)
                return true
            }
            #expect(seen.map(\.kind) == [.saved, .oom])
            server.telemetry.emit(.died) { $0.sandbox = "box" }
            var later: [EventKind] = []
            try server.client.events(since: seen.last!.id) { event in
                later.append(event.kind)
                return false
            }
            #expect(later == [.died], "a reader that has enough ends")
            var kinds: [EventKind] = []
            try server.client.events(since: 0, filter: EventFilter(kinds: [.oom, .died]), follow: false) {
                event in
                kinds.append(event.kind)
                return true
            }
            #expect(kinds == [.oom, .died])
            let refused = errorOf { () throws(ErrorMessage) in
                let _: Done = try server.client.call("GET", "/v1/events?kind=saved,nonsense")
            }
            #expect(refused?.code == .badValue && refused?.message.contains("nonsense") == true)
        }
    }

    @Test func whoMissedSomethingIsTold() throws {
        try TestServer.run { server in
            server.telemetry.emit(.saved)
            let first = server.telemetry.events.last
            for _ in 0..<EventRing.capacity + 5 { server.telemetry.emit(.saved) }
            var seen: [Event] = []
            try server.client.events(since: first, follow: false) { event in
                seen.append(event)
                return true
            }
            #expect(seen.count == EventRing.capacity + 1)
            #expect(seen.first?.kind == .missed && seen.first?.count == 5)
            #expect(seen.last?.id == server.telemetry.events.last)
        }
    }

    /// What it does not read fills the socket, and then nothing of it is kept anywhere.
    @Test func aReaderThatDoesNotReadHoldsNobodyUpAndIsDropped() throws {
        var limits = ServerLimits()
        limits.stallSeconds = 1
        try TestServer.run(limits: limits) { server in
            let text = String(repeating: "x", count: 500)
            for _ in 0..<EventRing.capacity { server.telemetry.emit(.saved) { $0.message = text } }
            let deaf = try server.connect()
            try deaf.send("GET /v1/events?since=0 HTTP/1.1\r\nHost: ckpt\r\n\r\n")
            #expect(try server.client.version().api == "v1")
            // A reader with ears is served meanwhile.
            let since = server.telemetry.events.last
            server.telemetry.emit(.oom)
            try server.client.events(since: since) { event in
                #expect(event.kind == .oom)
                return false
            }
            let deadline = monotonicNanoseconds() + 60_000_000_000
            while server.server.connectionCount > 0, monotonicNanoseconds() < deadline { usleep(20_000) }
            try #require(server.server.connectionCount == 0, "the deaf one is still there")
            let got = deaf.readToEnd()
            #expect(got.hasPrefix("HTTP/1.1 200") && got.utf8.count < 1 << 20)
        }
    }

    @Test func aStreamEndsWithItsServer() throws {
        let ended = Monitor(false)
        try TestServer.run { server in
            let (client, since) = (server.client, server.telemetry.events.last)
            let began = Monitor(false)
            let path = client.endpoint.root
            startThread {
                let client = Client(root: path, launch: nil)
                try? client.events(since: since - 1) { _ in
                    began.with(wake: true) { $0 = true }
                    return true
                }
                ended.with(wake: true) { $0 = true }
            }
            began.wait { $0 ? () : nil }
        }
        ended.wait { $0 ? () : nil }
    }
}
