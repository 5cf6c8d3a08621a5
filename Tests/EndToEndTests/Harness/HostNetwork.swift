import Foundation
import Glibc
import Messages
import Testing

/// Programs on the host's network that sandboxes talk to, or that talk to them.
enum HostNetwork {
    /// The host's address on the device of its default route; nil without one.
    static let address: String? = {
        let script = "ip -4 route get 192.0.2.254 2>/dev/null | grep -o 'src [0-9.]*' | cut -d' ' -f2"
        guard let result = try? run(["bash", "-c", script]), !result.line.isEmpty else {
            FileHandle.standardError.write(Data("SKIPPED: this machine has no network\n".utf8))
            return nil
        }
        return result.line
    }()

    /// A TCP server that answers each line with `NAME LINE`, and UDP alike; on a free port, which is returned.
    static func echo(_ name: String, on address: String) throws -> (server: RunningCommand, port: Int) {
        let server = try RunningCommand(["python3", "-c", echoProgram, name, address, "0"])
        guard eventually(within: 20, { server.output.contains("\n") }),
            let port = Int(server.output.trimmingCharacters(in: .whitespacesAndNewlines))
        else { throw HarnessError("no echo server: \(server.errors)") }
        return (server, port)
    }

    /// Says a line to a server; its answer, or `no: WHY`.
    static func ask(_ address: String, _ port: Int, _ line: String = "hi", udp: Bool = false) throws -> String
    {
        try run(["python3", "-c", askProgram, address, String(port), line, udp ? "udp" : "tcp"]).line
    }

    /// `python3 -c echoProgram NAME ADDRESS PORT`
    static let echoProgram = #"""
        import selectors, socket, sys
        name, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
        tcp = socket.socket(); tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((address, port)); tcp.listen()
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(tcp.getsockname())
        print(tcp.getsockname()[1], flush=True)
        selector = selectors.DefaultSelector()
        for each in (tcp, udp): selector.register(each, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                each = key.fileobj
                if each is tcp: selector.register(tcp.accept()[0], selectors.EVENT_READ)
                elif each is udp:
                    said, peer = udp.recvfrom(1000)
                    udp.sendto(name.encode() + b" " + said, peer)
                else:
                    try: said = each.recv(1000)
                    except OSError: said = b""
                    if said: each.sendall(name.encode() + b" " + said)
                    else: selector.unregister(each); each.close()
        """#

    /// `python3 -c askProgram ADDRESS PORT LINE tcp|udp`. A datagram may be lost on a busy machine, and is sent again.
    static let askProgram = #"""
        import socket, sys
        kind = socket.SOCK_STREAM if sys.argv[4] == "tcp" else socket.SOCK_DGRAM
        client = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, kind)
        client.settimeout(20 if sys.argv[4] == "tcp" else 5)
        try:
            client.connect((sys.argv[1], int(sys.argv[2])))
            for left in (3, 2, 1, 0) if sys.argv[4] == "udp" else (0,):
                client.send(sys.argv[3].encode())
                try: answer = client.recv(1000).decode(); break
                except TimeoutError:
                    if left == 0: raise
            print(answer)
        except OSError as error: print("no:", error)
        """#
}

extension Sandbox {
    /// Starts an echo server inside, as a job.
    func serveEcho(_ name: String, on address: String = "0.0.0.0", port: Int) throws {
        try ckpt.ok(
            "exec", "-d", self.name, "--", "python3", "-c", HostNetwork.echoProgram, name, address,
            String(port))
        try waitFor("grep -q :\(String(port, radix: 16).uppercased().leftPadded(to: 4)) /proc/net/tcp")
    }

    /// Says a line to a server, from inside.
    func ask(_ address: String, _ port: Int, _ line: String = "hi", udp: Bool = false) throws -> String {
        try exec("python3", "-c", HostNetwork.askProgram, address, String(port), line, udp ? "udp" : "tcp")
            .line
    }
}

extension String {
    fileprivate func leftPadded(to width: Int) -> String {
        String(repeating: "0", count: max(0, width - count)) + self
    }
}
