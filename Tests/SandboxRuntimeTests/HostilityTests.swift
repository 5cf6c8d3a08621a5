import CLinux
import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SandboxRuntime

extension CommandSuite {
    /// PID 1 against garbage from outside and against its own sandbox.
    @Suite struct Hostility {
        /// A connection of the test's own, instead of the channel's.
        private func connection(_ box: CommandBox) throws -> Descriptor {
            try InitWire.connect(pid: box.process.pid, deadline: soon())
        }

        /// Reads until PID 1 closes; false when it does not.
        private func isDropped(_ socket: borrowing Descriptor) -> Bool {
            var patience = timeval(tv_sec: 20, tv_usec: 0)
            setsockopt(socket.raw, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
            var buffer = [UInt8](repeating: 0, count: 65536)
            while true {
                let got = recv(socket.raw, &buffer, buffer.count, 0)
                if got == 0 || (got < 0 && errno == ECONNRESET) { return true }
                if got < 0 { return false }
            }
        }

        private func send(_ bytes: [UInt8], _ socket: borrowing Descriptor) {
            let number = socket.raw
            bytes.withUnsafeBytes { _ = Glibc.send(number, $0.baseAddress!, $0.count, Int32(MSG_NOSIGNAL)) }
        }

        /// After each attack a new channel must find PID 1 as it was.
        private func attack(_ box: CommandBox, _ bytes: [UInt8]) throws -> Bool {
            let dropped: Bool
            do {
                let socket = try connection(box)
                send(bytes, socket)
                dropped = isDropped(socket)
            }
            return dropped
        }

        @Test func malformedFramesEndTheConnectionOnly() throws {
            try inSandbox { box in
                let spec = box.script("victim", "echo up; read x < /tmp/go; echo $x")
                try box.run(box.script("fifo", "mkfifo /tmp/go"))
                _ = try box.start(spec).read(until: "up")
                try box.channel.quiesce(deadline: soon())

                var length = ckpt_frame()
                length.length = UInt32(CKPT_INIT_PAYLOAD + 1)
                length.type = UInt16(CKPT_LIST)
                var good = InitFrame.spawn(box.spec("x", "true"), tag: 1, from: (0, 0))
                let headers: [[UInt8]] = [
                    InitFrame.bytes(of: length),
                    InitFrame.encode(999), InitFrame.encode(0), InitFrame.encode(CKPT_HELLO),
                    InitFrame.encode(CKPT_SPAWN, tag: 1),
                    InitFrame.encode(CKPT_SPAWN, tag: 0, payload: good[24...]),
                    InitFrame.encode(CKPT_SPAWN, tag: 1, payload: good[24...].dropLast()),
                    InitFrame.encode(CKPT_SPAWN, tag: 1, payload: Array(good[24...]) + [0]),
                    InitFrame.encode(CKPT_ATTACH, tag: 1, payload: [1, 2, 3]),
                    InitFrame.encode(CKPT_ATTACH, tag: 1, payload: [UInt8](repeating: 65, count: 1000)),
                    InitFrame.encode(CKPT_KILL_ALL, value: 0), InitFrame.encode(CKPT_KILL_ALL, value: 65),
                    InitFrame.encode(CKPT_FORGET, tag: 0),
                ]
                for bytes in headers { #expect(try attack(box, bytes), "\(bytes.prefix(40))") }
                // Every field of a good request at its extremes.
                for at in 24..<min(good.count, 24 + MemoryLayout<ckpt_spawn>.size) {
                    let kept = good[at]
                    good[at] = 0xff
                    let socket = try connection(box)
                    send(good + InitFrame.encode(CKPT_FORGET, tag: 1) + InitFrame.encode(999), socket)
                    let dropped = isDropped(socket)
                    #expect(dropped)
                    good[at] = kept
                }
                try box.channel.resume(pid: box.process.pid, deadline: soon())
                let victim = try box.start(spec)
                try box.run(box.script("go", "echo unharmed > /tmp/go"))
                #expect(try victim.finish().stdout.contains("unharmed\n"))
            }
        }

        @Test func randomBytes() throws {
            try inSandbox { box in
                try box.channel.quiesce(deadline: soon())
                var generator = SplitMix(state: 42)
                let types = [1, 2, 3, 4, 5, 6, 7, 9, 10, 11]
                for _ in 0..<300 {
                    let socket = try connection(box)
                    for _ in 0..<20 {
                        var payload = (0..<Int.random(in: 0...200, using: &generator)).map { _ in
                            UInt8.random(in: 0...255, using: &generator)
                        }
                        if Bool.random(using: &generator) { payload = [] }
                        send(
                            InitFrame.encode(
                                types.randomElement(using: &generator)!,
                                tag: .random(in: 0...3, using: &generator),
                                stream: .random(in: 0...3, using: &generator),
                                value: .random(in: 0...70, using: &generator),
                                offset: .random(in: 0...(.max), using: &generator), payload: payload), socket)
                    }
                    send(InitFrame.encode(999), socket)
                    let dropped = isDropped(socket)
                    #expect(dropped)
                }
                try box.channel.resume(pid: box.process.pid, deadline: soon())
                #expect(try box.run(box.spec("after", "echo", "well")).stdout == "well\n")
            }
        }

        @Test func framesInPieces() throws {
            try inSandbox { box in
                try box.channel.quiesce(deadline: soon())
                let socket = try connection(box)
                for byte in InitFrame.spawn(box.script("a", "echo slow"), tag: 7, from: (0, 0)) {
                    send([byte], socket)
                }
                shutdown(socket.raw, Int32(SHUT_WR))
                let dropped = isDropped(socket)
                #expect(dropped)
                try box.channel.resume(pid: box.process.pid, deadline: soon())
                #expect(try box.start(box.script("a", "echo another")).finish().stdout == "slow\n")
            }
        }

        @Test func theSandboxItselfIsNotObeyed() throws {
            try inSandbox { box in
                let attack = """
                    use Socket; socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
                    connect($s, pack_sockaddr_un("/.ckpt/socket")) or die "connect: $!";
                    my $n = sysread($s, my $x, 100); print defined $n ? "got $n\\n" : "error $!\\n";
                    """
                let inside = try box.run(box.spec("a", "perl", "-e", attack))
                #expect(
                    inside.stdout == "got 0\n" || inside.stdout.hasPrefix("error Connection reset"),
                    "\(inside)")
                // And the server's own connection was not taken away by it.
                #expect(try box.run(box.spec("b", "true")).code == 0)
                var other = box.spec("c", "perl", "-e", attack)
                other.user = try SandboxUser.find("sandy", inSandboxOf: box.process.pid)
                #expect(try box.run(other).stderr.hasPrefix("connect: Permission denied"))
            }
        }

        @Test func whatASandboxSendsToPID1() throws {
            try inSandbox { box in
                try box.run(
                    box.script(
                        "a",
                        "for s in 1 2 3 6 9 10 11 12 13 14 15 19 20 33 64; do kill -$s 1; done; kill -9 -1"))
                #expect(try box.run(box.spec("b", "echo", "well")).stdout == "well\n")
            }
        }

        @Test func aLinkInThePlaceOfTheSocketLeadsNowhere() throws {
            try inSandbox { box in
                let outside = "\(box.directory)/outside.socket"
                let listener = try Descriptor(
                    owning: retrying("socket") { socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0) })
                var address = sockaddr_un()
                address.sun_family = sa_family_t(AF_UNIX)
                withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: outside.utf8) }
                try withUnsafePointer(to: address) {
                    try $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                        _ = try retrying("bind") {
                            bind(
                                listener.raw, __CONST_SOCKADDR_ARG(__sockaddr__: pointer),
                                socklen_t(MemoryLayout<sockaddr_un>.size))
                        }
                    }
                }
                listen(listener.raw, 8)
                try box.run(box.script("a", "ln -sf \(outside) /.ckpt/socket"))
                try box.channel.quiesce(deadline: soon())
                #expect(throws: CommandError.disconnected) {
                    try box.channel.resume(
                        pid: box.process.pid, deadline: monotonicNanoseconds() + 100_000_000)
                }
            }
        }

        @Test func nothingStaysOpen() throws {
            try inSandbox { box in
                func open() throws -> String {
                    try shell("ls /proc/\(box.process.pid)/fd | sort -n | tr '\\n' ' '")
                }
                let before = try open()
                for round in 0..<20 {
                    try box.run(box.script("a\(round)", "echo x"))
                    try box.run(box.spec("b\(round)", "no-such-program"))
                    var spec = box.script("c\(round)", "cat")
                    spec.stdin = true
                    let cat = try box.start(spec)
                    try cat.closeStdin()
                    _ = try cat.finish()
                    cat.forget()
                    spec = box.spec("d\(round)", "true")
                    spec.terminal = .init(rows: 1, columns: 1)
                    try box.run(spec)
                    spec = box.script("e\(round)", "sleep 1000")
                    spec.timeoutMilliseconds = 20
                    try box.run(spec)
                    try box.run(box.script("f\(round)", "sleep 0.01 & exit"))
                    try box.run(box.call("g\(round)", "s", "echo x; exit"))
                    try box.run(box.call("h\(round)", "t", "sleep 1000", milliseconds: 20))
                    try box.run(box.call("i\(round)", "t", "exit"))
                    try box.channel.quiesce(deadline: soon())
                    try box.channel.resume(pid: box.process.pid, deadline: soon())
                }
                try eventually("PID 1 holds what it held") { try open() == before }
                #expect(try shell("ls /proc/\(box.process.pid)/task | wc -l") == "1\n")
                try #expect(box.channel.list(deadline: soon()).commands.isEmpty)
            }
        }

        @Test func aForgottenQueuedCallIsNotRun() throws {
            try inSandbox { box in
                try box.run(box.script("fifo", "mkfifo /tmp/go"))
                let first = try box.start(box.call("a", "s", "echo up; read x < /tmp/go"))
                _ = try first.read(until: "up")
                let second = try box.start(box.call("b", "s", "touch /tmp/was-run"))
                try second.waitUntilStarted(deadline: soon())
                second.forget()
                try box.run(box.script("go", "echo > /tmp/go"))
                _ = try first.finish()
                try #expect(box.run(box.call("c", "s", "ls /tmp")).stdout == "go\n")
            }
        }

        @Test func manyAtOnce() throws {
            try inSandbox { box in
                // As many as PID 1 knows, each with three pipes, and one more.
                let commands = try (0..<CKPT_INIT_COMMANDS).map {
                    var spec = box.script("c\($0)", "cat; echo \($0)")
                    spec.stdin = true
                    return try box.start(spec)
                }
                let one = try box.start(box.spec("more", "true"))
                guard case .failed(let error)? = one.next(deadline: soon()) else {
                    throw TestFailure("not refused")
                }
                #expect(error.code == .noSpace)
                for command in commands { try command.closeStdin() }
                for (index, command) in commands.enumerated() {
                    #expect(try command.finish().stdout == "\(index)\n")
                }
            }
        }
    }

    /// The pure parts.
    @Suite struct Parts {
        private let passwd = [
            ["root", "x", "0", "0", "", "/root", "/bin/bash"], ["web", "x", "33", "34", "", "/var/www", ""],
            ["99", "x", "7", "8", "", "/odd", "/bin/sh"], ["broken"],
        ]
        private let group = [["web", "x", "34", ""], ["log", "x", "4", "web,root"], ["7", "x", "70", ""]]

        @Test func users() throws {
            func find(_ text: String) throws(CommandError) -> SandboxUser {
                try SandboxUser.find(text, passwd: passwd, group: group)
            }
            #expect(
                try find("web")
                    == SandboxUser(
                        uid: 33, gid: 34, groups: [34, 4], name: "web", home: "/var/www", shell: "/bin/sh"))
            #expect(try find("33") == find("web"))
            #expect(try find("99").uid == 7, "a name wins over a number")
            #expect(try find("5:7").gid == 70 && find("5:6").gid == 6 && find("5").gid == 0)
            #expect(try find("web:log").groups == [4])
            for text in ["", "nobody", "web:none", "web:", ":4", "4294967295", "-1", "1.5"] {
                #expect(throws: CommandError.self, "\(text)") { try find(text) }
            }
        }

        @Test func specsThatPID1WouldRefuse() {
            let good = CommandSpec(id: "a", arguments: ["true"])
            func bad(_ change: (inout CommandSpec) -> Void) {
                var spec = good
                change(&spec)
                #expect(throws: CommandError.self) { try spec.validate() }
            }
            #expect(throws: Never.self) { try good.validate() }
            bad { $0.id = "" }
            bad { $0.id = String(repeating: "a", count: 65) }
            bad { $0.id = "a/b" }
            bad { $0.arguments = [] }
            bad { $0.arguments = ["a\0b"] }
            bad { $0.session = "a b" }
            bad {
                $0.session = "s"
                $0.stdin = true
            }
            bad { $0.environment = ["A=" + String(repeating: "x", count: 4 << 20)] }
        }
    }
}

/// A small generator with a seed, so that a failure can be repeated.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}
