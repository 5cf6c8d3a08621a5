import Foundation
import Glibc
import Messages
import Testing

/// `--allow-port`: nothing else can be connected to, whatever happens to the sandbox.
@Suite struct PortWallTests {
    @Test func onlyAllowedPortsAreConnectable() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("walled", "--allow-port", "7000", "--allow-port", "7003")
            for port in [7000, 7001] { try box.serveEcho("inside", port: port) }
            // A connection from before the save, over the loopback, is within.
            try box.startPython()
            try box.say(
                """
                put 'import socket' 's = socket.create_connection(("127.0.0.1", 7000))'
                put 'def talk():' ' s.send(b"hi"); return s.recv(100).decode()' ''
                """)
            func check(_ box: Sandbox, _ when: String) throws {
                for udp in [false, true] {
                    #expect(try box.ask("127.0.0.1", 7000, udp: udp) == "inside hi", "\(when)")
                    for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
                        #expect(try box.ask(address, 7001, udp: udp).hasPrefix("no:"), "\(address) \(when)")
                    }
                }
                #expect(try box.say("ask 'print(talk())'") == "inside hi", "\(when)")
                #expect(try box.info().spec.security.allowPorts == [7000, 7003])
                // As root inside, the wall stays: no table can be deleted.
                let attempt = try box.exec("python3", "-c", Self.takeDown).line
                #expect(attempt == "1", "the table could be deleted \(when): \(attempt)")
                #expect(try box.ask("127.0.0.1", 7001).hasPrefix("no:"), "after the attempt, \(when)")
            }
            try check(box, "at first")
            let id = try box.save()
            try check(box, "after a save")
            try box.restore(id)
            try check(box, "after a restore")
            try check(try ckpt.fork(id)[0], "in a fork")
            try ckpt.ok("reset", "walled")
            for port in [7000, 7001] { try box.serveEcho("inside", port: port) }
            #expect(try box.ask("127.0.0.1", 7000) == "inside hi")
            #expect(try box.ask("127.0.0.1", 7001).hasPrefix("no:"), "after a reset")
        }
    }

    @Test(.enabled(if: Machine.has("pasta") && HostNetwork.address != nil, "needs pasta and a network"))
    func withNatTheWallHoldsOutsideAndServersAnswer() throws {
        let host = HostNetwork.address!
        let (allowed, port) = try HostNetwork.echo("allowed", on: host)
        let (other, otherPort) = try HostNetwork.echo("other", on: host)
        defer {
            for each in [allowed, other] {
                each.signal(SIGKILL)
                _ = each.wait()
            }
        }
        try withCkpt { ckpt in
            let box = try ckpt.create(
                "walled", "--net", "nat", "--allow-port", "\(port)", "-p", "80", "-p", "80/udp")
            try box.serveEcho("inside", port: 80)
            func check(_ box: Sandbox, _ when: String) throws {
                for udp in [false, true] {
                    let answer = try box.ask(host, port, udp: udp)
                    #expect(answer == "allowed hi", "udp: \(udp), \(when)")
                    let refused = try box.ask(host, otherPort, udp: udp)
                    #expect(refused.hasPrefix("no:"), "udp: \(udp), \(when)")
                    let published = try #require(try box.info().ports)[udp ? 1 : 0]
                    let served = try HostNetwork.ask(host, Int(published.hostPort), udp: udp)
                    #expect(served == "inside hi", "a server's answers pass, udp: \(udp), \(when)")
                }
            }
            try check(box, "at first")
            let id = try box.save()
            try box.restore(id)
            try check(box, "after a restore")
            try check(try ckpt.fork(id)[0], "in a fork")
        }
    }

    @Test func whatWouldPassTheWallIsRefused() throws {
        try withCkpt { ckpt in
            for options in [["--cap-add", "NET_ADMIN"], ["--cap-add", "NET_RAW"], ["--privileged"]] {
                let result = try ckpt.call(["create", "walled", "--allow-port", "80"] + options)
                expectRefusal(result, names: ["capability", "--allow-port"])
            }
            expectRefusal(
                try ckpt("create", "walled", "--allow-port", "80", "--net", "host"), names: ["--net nat"])
        }
    }

    /// Asks nf_tables to delete the table `ckpt`; prints the errno.
    private static let takeDown = #"""
        import socket, struct
        def message(kind, family, resource, body=b""):
            return struct.pack("=IHHII", 20 + len(body), kind, 5, 1, 0) + struct.pack("!BBH", family, 0, resource) + body
        s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        s.send(message(16, 0, 10) + message(10 << 8 | 2, 1, 0, struct.pack("=HH", 9, 1) + b"ckpt\0\0\0\0") + message(17, 0, 10))
        print(-struct.unpack("=i", s.recv(1000)[16:20])[0])
        """#
}
