import Foundation
import Glibc
import Messages
import Testing

/// `--net host`.
@Suite struct HostNetworkTests {
    @Test func aServerOnTheHostsNetworkIsSavedRestoredAndForked() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("open", "--net", "host")
            let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/net")
            #expect(try box.sh("readlink /proc/self/ns/net") == own)
            let (probe, port) = try HostNetwork.echo("probe", on: "127.0.0.1")
            probe.signal(SIGKILL)
            _ = probe.wait()
            try box.serveEcho("open", on: "127.0.0.1", port: port)
            #expect(try HostNetwork.ask("127.0.0.1", port) == "open hi")
            try box.say("state=kept")
            let id = try box.save()
            #expect(try HostNetwork.ask("127.0.0.1", port) == "open hi", "after a save")
            try box.restore(id)
            #expect(try HostNetwork.ask("127.0.0.1", port) == "open hi", "after a restore in place")
            #expect(try box.say("echo $state") == "kept")
            #expect(try box.sh("readlink /proc/self/ns/net") == own, "after a restore")
            // Nobody else can listen there: the fork says so and the original is unharmed.
            expectRefusal(try ckpt("fork", id), names: ["address", "in use", "--net host"])
            #expect(try HostNetwork.ask("127.0.0.1", port) == "open hi")
            #expect(try ckpt.sandboxes().map(\.name) == ["open"])
            try ckpt.ok("kill", "open")
            let fork = try ckpt.fork(id)[0]
            #expect(try HostNetwork.ask("127.0.0.1", port) == "open hi", "in a fork")
            #expect(try fork.say("echo $state") == "kept")
            #expect(try fork.info().spec.net == .host)
        }
    }

    /// Where nobody listens there is nothing in the way of a fork; connections are closed in it.
    @Test func connectionsOnTheHostsNetworkAreClosed() throws {
        let (outside, port) = try HostNetwork.echo("outside", on: "127.0.0.1")
        defer {
            outside.signal(SIGKILL)
            _ = outside.wait()
        }
        try withCkpt { ckpt in
            let box = try ckpt.create("talk", "--net", "host")
            try box.startPython()
            try box.say(
                """
                put 'import socket' 'out = socket.create_connection(("127.0.0.1", \(port)))'
                put 'def talk(s):' ' try: s.send(b"hi"); return s.recv(100).decode()'
                put ' except OSError as e: return "broken"' ''
                """)
            #expect(try box.say("ask 'print(talk(out))'") == "outside hi")
            let id = try box.save()
            #expect(try box.say("ask 'print(talk(out))'") == "outside hi", "a save breaks nothing")
            let fork = try ckpt.fork(id)[0]
            #expect(try fork.say("ask 'print(talk(out))'") == "broken")
            #expect(try box.say("ask 'print(talk(out))'") == "outside hi", "beside a fork")
        }
    }
}
