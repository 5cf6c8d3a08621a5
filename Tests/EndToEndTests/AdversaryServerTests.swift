import Foundation
import Glibc
import Messages
import Testing

/// A sandbox that lies to the server over its own socket.
@Suite(.serialized, .enabled(if: Machine.has("gcc"), "needs gcc")) struct AdversaryServerTests {
    private static let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().path

    /// The lies of Programs/liar.c, and the call that meets each.
    static let lies: [(mode: String, meets: String)] = [
        ("GARBAGE", "create"), ("OVERSIZED", "create"), ("ENDLESS_ENTRIES", "create"),
        ("ENDLESS_GREETINGS", "create"), ("ENDLESS_OUTPUT", "exec"), ("WRONG_ENTRY", "create"),
        ("HUGE_OFFSETS", "exec"), ("HUGE_ENTRY", "create"), ("HUNG_UP", "create"), ("SILENT", "create"),
    ]

    @Test(arguments: lies) func aFirstProcessThatLies(mode: String, meets: String) throws {
        let program = "/tmp/ckpt-e2e-liar-\(getpid())-\(mode)"
        try Program.text("liar.c").write(to: URL(fileURLWithPath: program + ".c"))
        defer {
            unlink(program)
            unlink(program + ".c")
        }
        let made = try run([
            "gcc", "-O1", "-w", "-static", "-DMODE=\(mode)", "-I\(Self.repository)/Sources/CLinux/include",
            "-o",
            program, program + ".c",
        ])
        try #require(made.status == 0, "\(made)")
        try withCkpt(environment: ["CKPT_INIT": program]) { ckpt in
            try ckpt.ok("ps")
            ckpt.rememberServer()
            let server = try #require(ckpt.serverPID)
            let created = try ckpt("create", "liar", deadline: 30)
            if meets == "create" {
                let said = created.stderr.contains("PID 1") || created.stderr.contains("processes are gone")
                #expect(created.status == 125 && said, "\(created)")
                #expect(try ckpt.sandboxes().isEmpty)
            } else {
                #expect(created.status == 0, "\(created)")
                let ran = try ckpt("exec", "liar", "--", "true", deadline: 30)
                #expect(ran.status == 125, "\(ran)")
            }
            #expect(ckpt.serverPID == server, "the server is another one")
            let status = try String(contentsOfFile: "/proc/\(server)/status", encoding: .utf8)
            let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") })
            let kilobytes = try #require(line.split(separator: " ").compactMap { Int($0) }.first)
            #expect(kilobytes < 300_000, "the server took \(kilobytes) kB in")
        }
    }

    /// Root inside may put a socket of its own where PID 1 listens: the server speaks to PID 1 alone.
    @Test func somebodyElseInItsPlace() throws {
        try withCkpt { ckpt in
            let neighbour = try Witness(try ckpt.create("neighbour"))
            let box = try ckpt.create("usurped")
            let honest = try box.save()
            let usurper = """
                import os, socket
                os.unlink('/.ckpt/socket')
                s = socket.socket(socket.AF_UNIX); s.bind('/.ckpt/socket'); s.listen(8)
                print('ready', flush=True)
                while True:
                    c, _ = s.accept(); open('/tmp/caught', 'wb').write(c.recv(1000))
                """
            let job = try ckpt.ok("exec", "-d", "usurped", "--", "/usr/bin/python3", "-c", usurper).line
            #expect(try eventually { try ckpt.ok("job", "usurped", job).stdout.contains("ready") })
            // The line that is there goes on; a new one, as after a save, goes to nobody else.
            #expect(try box.sh("echo served") == "served")
            _ = try ckpt("save", "usurped")
            let refused = try ckpt("exec", "usurped", "--", "true", deadline: 90)
            #expect(refused.status == 125 && refused.stderr.contains("in the place of"), "\(refused)")
            #expect(
                try ckpt("read", "usurped", "/tmp/caught").stdout.isEmpty, "the usurper was told something")
            try neighbour.check("the usurper")
            try box.restore(honest)
            #expect(try box.sh("echo served") == "served")
        }
    }
}
