import Foundation
import Glibc
import Messages
import Testing

/// Who may reach a server, and who may look into its store: nobody but its own user and one group.
@Suite struct AccessTests {
    /// Asks the server for its version over its socket, as another user: prints the status, or the errno.
    private static let ask = """
        import os, socket, sys
        os.setgroups([int(g) for g in sys.argv[2].split(',') if g]); os.setgid(65534); os.setuid(65534)
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(sys.argv[1])
            s.sendall(b'GET /v1/version HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
            answer = b''
            while b'}' not in answer:
                piece = s.recv(65536)
                if not piece: break
                answer += piece
            print(answer.decode())
        except OSError as error:
            print('errno', error.errno)
        """

    private func ask(_ ckpt: Ckpt, groups: String = "") throws -> String {
        try run(["python3", "-c", Self.ask, ckpt.socket, groups]).stdout
    }

    /// Everything in the store that group or others have any right to. Below layers and roots of sandboxes the modes
    /// are the sandbox's own: what counts is that nobody gets there.
    private func open(_ root: String) -> [String] {
        // CRIU's statistics of a restore are readable, in a directory that is not.
        let inside = [
            #"^sandboxes/[^/]*/criu/stats-restore$"#,
            #"^layers/[^/]*/"#, #"^layers/[^/]*$"#, #"^sandboxes/[^/]*/(upper|work|merged|root)[^/]*"#,
            // What was in one of these, and is being removed.
            #"^staging/trash-[^/]*"#,
        ]
        var found: [String] = []
        let all = FileManager.default.enumerator(atPath: root)
        while let path = all?.nextObject() as? String {
            if inside.contains(where: { path.range(of: $0, options: .regularExpression) != nil }) { continue }
            var status = stat()
            guard lstat("\(root)/\(path)", &status) == 0, status.st_mode & S_IFMT != S_IFLNK else { continue }
            if status.st_mode & 0o077 != 0 { found.append("\(String(status.st_mode, radix: 8)) \(path)") }
        }
        return found
    }

    @Test func storeIsClosedToOthers() throws {
        try withCkpt(environment: ["SECRET": "hunter2"]) { ckpt in
            // However open the one who starts it is, and whatever somebody did to a file by hand.
            let start = try run(
                ["bash", "-c", "umask 000; chmod 755 $CKPT_ROOT; exec \(Ckpt.binary) create box -e SECRET"],
                environment: ckpt.environment)
            #expect(start.status == 0, "\(start)")
            ckpt.rememberServer()
            let box = Sandbox(ckpt: ckpt, name: "box")
            try box.sh("echo secret > /root/file; umask 0; echo open > /srv/open; sleep 1000 & echo $!")
            try box.say("x=secret")
            try ckpt.ok("exec", "-d", "box", "--", "echo", "out")
            let first = try box.save()
            try box.say("y=more")
            _ = try box.save("-t", "second")
            _ = try ckpt.fork("second")
            try box.restore("second")
            try ckpt.ok("delete", "--keep-children", first)
            _ = try ckpt("verify")
            let found = open(ckpt.root)
            #expect(found == [], "\(found.joined(separator: "\n"))")
            var status = stat()
            #expect(stat(ckpt.root, &status) == 0 && status.st_mode & 0o7777 == 0o700)
            for place in ["layers", "snapshots", "staging", "digests", "sandboxes", "init"] {
                #expect(
                    stat("\(ckpt.root)/\(place)", &status) == 0 && status.st_mode & 0o7777 == 0o700,
                    "\(place)")
            }
            let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            let looked = try run(nobody + ["find", ckpt.root, "-mindepth", "1"])
            #expect(looked.stdout == "" && looked.stderr.contains("Permission denied"))
            #expect(try ask(ckpt) == "errno \(EACCES)\n")
            // Rights inside do not depend on who started the server.
            #expect(
                try box.sh("stat -c %a / /usr /tmp /run | xargs", options: ["--user", "nobody"])
                    == "755 755 1777 755")
        }
    }

    @Test func whoeverComesInOtherwiseIsTurnedAway() throws {
        try withCkpt { ckpt in
            _ = try ckpt.create("box")
            chmod(ckpt.root, 0o711)
            chmod(ckpt.socket, 0o666)
            let answer = try ask(ckpt)
            #expect(answer.hasPrefix("HTTP/1.1 403"), "\(answer)")
            #expect(
                answer.contains("user 65534 may not use this server") && answer.contains("--group"),
                "\(answer)")
            #expect(try ckpt.sandboxes().count == 1)
            #expect(ckpt.serverLog.contains("refused a connection: user 65534"))
        }
    }

    @Test func groupIsAdmitted() throws {
        try withCkpt { ckpt in
            let group = getgrnam("games").map { $0.pointee.gr_gid }
            let games = try #require(group, "Debian has a group games")
            let server = try ckpt.start("serve", "--group", "games")
            #expect(eventually { access(ckpt.socket, F_OK) == 0 }, "\(server.errors)")
            ckpt.rememberServer()
            #expect(eventually { (try? ckpt.sandboxes().isEmpty) == true })
            var status = stat()
            #expect(
                stat(ckpt.socket, &status) == 0 && status.st_mode & 0o7777 == 0o660 && status.st_gid == games)
            #expect(
                stat(ckpt.root, &status) == 0 && status.st_mode & 0o7777 == 0o710 && status.st_gid == games)
            #expect(try ask(ckpt, groups: "1,2,\(games),7").hasPrefix("HTTP/1.1 200"))
            #expect(try ask(ckpt, groups: "1,2,7") == "errno \(EACCES)\n")
            let open = open(ckpt.root).filter { !$0.hasSuffix(" server.sock") }
            #expect(open == [], "\(open)")
            try ckpt.ok("serve", "--stop")
            #expect(server.wait().status == 0)
            // The next one admits its own user again and nobody else.
            _ = try ckpt.create("box")
            #expect(stat(ckpt.root, &status) == 0 && status.st_mode & 0o7777 == 0o700)
            #expect(try ask(ckpt, groups: "\(games)") == "errno \(EACCES)\n")
            expectRefusal(try ckpt("serve", "--group", "no-such-group"), names: ["no-such-group"])
        }
    }

    @Test func rootThatEverybodyMayWriteToIsRefused() throws {
        try withCkpt { ckpt in
            _ = FileManager.default.createFile(atPath: "\(ckpt.root)/of-somebody", contents: nil)
            chmod(ckpt.root, 0o777)
            expectRefusal(try ckpt("ps"), names: [ckpt.root, "everybody may write"])
            chmod(ckpt.root, 0o755)
            #expect(try ckpt.sandboxes().isEmpty)
            var status = stat()
            #expect(
                stat(ckpt.root, &status) == 0 && status.st_mode & 0o7777 == 0o755, "it is not ckpt's alone")
            #expect(open(ckpt.root).filter { !$0.hasSuffix(" of-somebody") } == [])
        }
    }

    @Test func coresAreTheirOwners() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("box")
            try box.say("x=secret")
            let id = try box.save()
            let target = "\(ckpt.root)-core"
            defer { for end in ["", ".part"] { unlink(target + end) } }
            _ = FileManager.default.createFile(
                atPath: target, contents: nil, attributes: [.posixPermissions: 0o666])
            _ = FileManager.default.createFile(
                atPath: target + ".part", contents: nil, attributes: [.posixPermissions: 0o666])
            let pid = try box.sh("pgrep -o bash")
            try ckpt.ok("core", id, "--pid", pid, "-o", target)
            var status = stat()
            #expect(stat(target, &status) == 0 && status.st_mode & 0o7777 == 0o600 && status.st_size > 1000)
        }
    }
}
