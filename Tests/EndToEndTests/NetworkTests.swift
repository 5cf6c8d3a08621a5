import Foundation
import Glibc
import Messages
import Testing

/// `--net nat` and forwarded ports.
@Suite(.serialized) struct NetworkTests {
    private static let hasNat = Machine.has("pasta", "ip") && HostNetwork.address != nil

    /// What a program inside sees of its network.
    private static let look = """
        ip -o address | grep -v 'scope link' | sed 's/ \\+/ /g'; ip route; ip -6 route | grep -v fe80::/64
        cat /etc/resolv.conf /proc/sys/net/mptcp/enabled
        """

    @Test(.enabled(if: hasNat, "needs pasta and a network"))
    func natLeadsOutAndPortsLeadIn() throws {
        let host = HostNetwork.address!
        let (outside, port) = try HostNetwork.echo("outside", on: host)
        let (hidden, hiddenPort) = try HostNetwork.echo("hidden", on: "127.0.0.1")
        defer {
            for each in [outside, hidden] {
                each.signal(SIGKILL)
                _ = each.wait()
            }
        }
        try withCkpt { ckpt in
            let box = try ckpt.create("web", "--net", "nat", "-p", "80", "-p", "\(host)::81/udp")
            try box.serveEcho("inside", port: 80)
            try box.serveEcho("inside81", port: 81)
            func check(_ box: Sandbox, _ when: String) throws -> [UInt16] {
                let ports = try #require(try box.info().ports, "\(when)")
                #expect(ports.map(\.boxPort) == [80, 81] && ports.map(\.transport) == [.tcp, .udp])
                #expect(ports[1].address == host)
                #expect(try box.ask(host, port) == "outside hi", "out by TCP, \(when)")
                #expect(try box.ask(host, port, udp: true) == "outside hi", "out by UDP, \(when)")
                let published = Int(ports[0].hostPort)
                #expect(try HostNetwork.ask("127.0.0.1", published) == "inside hi", "in by TCP, \(when)")
                #expect(try HostNetwork.ask(host, published) == "inside hi", "in by the address, \(when)")
                #expect(
                    try HostNetwork.ask(host, Int(ports[1].hostPort), udp: true) == "inside81 hi",
                    "in by UDP, \(when)")
                #expect(
                    try box.ask("127.0.0.1", hiddenPort).hasPrefix("no:"), "the host's loopback, \(when)")
                return ports.map(\.hostPort)
            }
            let ports = try check(box, "at first")
            #expect(
                try box.ask("10.0.2.2", hiddenPort).hasPrefix("no:"), "the gateway")
            let before = try box.sh(Self.look)
            #expect(before.contains("10.0.2.100/24") && before.contains("default via 10.0.2.2"), "\(before)")
            let id = try box.save()
            #expect(try check(box, "after a save") == ports)
            try box.restore(id)
            #expect(try box.sh(Self.look) == before, "after a restore")
            #expect(try check(box, "after a restore") == ports, "a restore in place keeps its ports")
            let forks = try ckpt.fork(id, count: 2)
            var all = ports
            for fork in forks {
                #expect(try fork.sh(Self.look) == before, "in a fork")
                all += try check(fork, "in a fork")
            }
            #expect(Set(all).count == 6, "each has ports of its own: \(all)")
            #expect(try check(box, "beside its forks") == ports)
            try ckpt.ok("reset", "web")
            #expect(try box.info().ports?.map(\.hostPort) == ports, "a reset keeps the ports")
            #expect(try box.ask(host, port) == "outside hi", "after a reset")
            let shown = try ckpt.ok("show", "--sandbox", "web").stdout
            #expect(shown.contains("\(ports[0])->80/tcp") && shown.contains("\(host):\(ports[1])->81/udp"))
            #expect(try ckpt.ok("ps").stdout.contains("\(ports[0])->80/tcp"))
        }
    }

    /// Connections that lead out end with the restore, at once and as broken ones; those within live on.
    @Test(.enabled(if: hasNat, "needs pasta and a network"))
    func connectionsToTheOutsideEndWithinDoNot() throws {
        let (outside, port) = try HostNetwork.echo("outside", on: HostNetwork.address!)
        defer {
            outside.signal(SIGKILL)
            _ = outside.wait()
        }
        try withCkpt { ckpt in
            let box = try ckpt.create("talk", "--net", "nat")
            try box.serveEcho("inside", on: "127.0.0.1", port: 7000)
            try box.serveEcho("own", on: "10.0.2.100", port: 7001)
            try box.startPython()
            try box.say(
                """
                put 'import socket'
                put 'out = socket.create_connection(("\(HostNetwork.address!)", \(port)))'
                put 'within = socket.create_connection(("127.0.0.1", 7000))'
                put 'own = socket.create_connection(("10.0.2.100", 7001))'
                put 'def talk(s):' ' try: s.send(b"hi"); return s.recv(100).decode()'
                put ' except OSError as e: return type(e).__name__' ''
                """)
            let ask = "ask 'print(talk(out), talk(within), talk(own), sep=\",\")'"
            #expect(try box.say(ask) == "outside hi,inside hi,own hi")
            let id = try box.save()
            #expect(try box.say(ask) == "outside hi,inside hi,own hi", "a save breaks nothing")
            let broken = "ConnectionAbortedError,inside hi,own hi"
            let fork = try ckpt.fork(id)[0]
            #expect(try fork.say(ask) == broken, "in a fork")
            #expect(try box.say(ask) == "outside hi,inside hi,own hi", "the original has its connection")
            try box.restore(id)
            #expect(try box.say(ask) == broken, "after a restore")
        }
    }

    @Test(.enabled(if: hasNat, "needs pasta and a network"))
    func namesAreResolved() throws {
        let host = HostNetwork.address!
        let responder = try RunningCommand(
            [
                "python3", "-c",
                """
                import socket, sys
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[1], 53)); print("ready", flush=True)
                while True:
                    q, peer = s.recvfrom(1000)
                    end = q.index(b"\\0", 12) + 5
                    known = q[end-4:end] == b"\\0\\1\\0\\1"
                    answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4\\x0a\\x01\\x02\\x03" if known else b""
                    s.sendto(q[:2] + b"\\x81\\x80\\0\\1\\0" + bytes([known]) + b"\\0\\0\\0\\0" + q[12:end] + answer, peer)
                """, host,
            ])
        defer {
            responder.signal(SIGKILL)
            _ = responder.wait()
        }
        #expect(eventually { responder.output.contains("ready") }, "\(responder.errors)")
        try withCkpt { ckpt in
            let box = try ckpt.create("names", "--net", "nat", "--dns", host)
            #expect(try box.sh("cat /etc/resolv.conf") == "nameserver \(host)")
            #expect(try box.sh("getent ahostsv4 some.example | head -n 1").hasPrefix("10.1.2.3 "))
            let fork = try ckpt.fork(try box.save())[0]
            #expect(try fork.sh("getent ahostsv4 other.example | head -n 1").hasPrefix("10.1.2.3 "))
        }
    }

    /// pasta is replaced when it dies, found again by a new server, and gone when the sandbox is.
    @Test(.enabled(if: hasNat, "needs pasta and a network"))
    func theWayOutLivesAsLongAsTheSandbox() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("way", "--net", "nat", "-p", "80")
            try box.serveEcho("inside", port: 80)
            let port = Int(try #require(try box.info().ports?.first).hostPort)
            func pasta() throws -> pid_t {
                let text = try String(contentsOfFile: "\(ckpt.root)/sandboxes/way/pasta.pid", encoding: .utf8)
                return try #require(pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)))
            }
            let original = try pasta()
            kill(original, SIGKILL)
            #expect(eventually { (try? HostNetwork.ask("127.0.0.1", port)) == "inside hi" }, "not replaced")
            let second = try pasta()
            #expect(second != original)
            kill(try #require(ckpt.serverPID), SIGKILL)
            #expect(eventually { ckpt.serverPID == nil })
            #expect(try HostNetwork.ask("127.0.0.1", port) == "inside hi", "without a server")
            #expect(try box.info().ports?.first?.hostPort == UInt16(port), "by a new server")
            ckpt.rememberServer()
            #expect(try pasta() == second)
            kill(second, SIGKILL)
            #expect(
                eventually { (try? HostNetwork.ask("127.0.0.1", port)) == "inside hi" },
                "not replaced by a new server")
            let third = try pasta()
            try ckpt.ok("kill", "way")
            #expect(eventually { !Leftovers.isAlive(third) }, "outlives the sandbox")
            #expect(try box.info().ports == nil)
            try ckpt.ok("reset", "way")
            #expect(try box.info().ports?.first?.hostPort == UInt16(port), "its port stays its own")
            let fourth = try pasta()
            kill(try #require(try box.info().pid), SIGKILL)
            #expect(eventually { !Leftovers.isAlive(fourth) }, "outlives its PID 1")
            try ckpt.ok("reset", "way")
            // Of one that no record names, only its pid file's path tells whose it was.
            let (fifth, first) = (try pasta(), try #require(try box.info().pid))
            kill(try #require(ckpt.serverPID), SIGKILL)
            #expect(eventually { ckpt.serverPID == nil })
            kill(first, SIGKILL)
            try FileManager.default.removeItem(atPath: "\(ckpt.root)/sandboxes/way/sandbox.json")
            #expect(try ckpt.sandboxes().isEmpty)
            #expect(eventually { !Leftovers.isAlive(fifth) }, "outlives its sandbox and its server")
        }
    }

    @Test(.enabled(if: hasNat, "needs pasta and a network"))
    func aTakenPortIsNamed() throws {
        let (outside, port) = try HostNetwork.echo("outside", on: "0.0.0.0")
        defer {
            outside.signal(SIGKILL)
            _ = outside.wait()
        }
        try withCkpt { ckpt in
            for transport in ["tcp", "udp"] {
                let result = try ckpt("create", "web", "--net", "nat", "-p", "\(port):80/\(transport)")
                expectRefusal(result, names: ["\(port)/\(transport)", "another program listens"])
            }
            #expect(try ckpt.sandboxes().isEmpty)
        }
    }

    @Test func withoutPastaTheErrorSaysWhatToInstall() throws {
        try withCkpt(environment: ["CKPT_PASTA": "/nonexistent/pasta"]) { ckpt in
            expectRefusal(
                try ckpt("create", "web", "--net", "nat"), names: ["pasta", "/nonexistent/pasta", "passt"])
            #expect(try ckpt.sandboxes().isEmpty)
            let doctor = try ckpt("doctor").stdout
            #expect(doctor.contains("network") && doctor.contains("passt"), "\(doctor)")
        }
    }

    /// The default: loopback alone, before and after.
    @Test func noneHasLoopbackAlone() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("alone")
            let look = "tail -n +3 /proc/net/dev | cut -d: -f1; cat /proc/sys/net/mptcp/enabled"
            #expect(try box.sh(look).split(separator: "\n").map { $0.filter { $0 != " " } } == ["lo", "0"])
            #expect(try box.ask(HostNetwork.address ?? "192.0.2.1", 80).hasPrefix("no:"))
            try checkRoundTrip(
                box, read: { try $0.sh(look + "; cat /root/changed 2>/dev/null || true") },
                change: { try $0.sh("echo changed > /root/changed") })
        }
    }
}
