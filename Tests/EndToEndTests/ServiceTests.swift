import Foundation
import Glibc
import Messages
import Testing

/// The server as a service of systemd's: what it tells, the socket it is given, and the units.
@Suite struct ServiceTests {
    /// Does for a service what systemd does, and prints a line for each thing that happens: listens on the socket,
    /// starts the server when somebody calls and again at each SIGUSR1, hears what it says, ends it at SIGTERM.
    private static let manager = """
        import os, select, signal, socket, sys
        ckpt, path, abstract = sys.argv[1], sys.argv[2], sys.argv[3] == 'abstract'
        listener = socket.socket(socket.AF_UNIX); listener.bind(path); listener.listen(128)
        os.chmod(path, 0o600)
        heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = '@ckpt-test-%d' % os.getpid() if abstract else path + '.notify'
        heard.bind('\\0' + name[1:] if abstract else name)
        def start():
            pid = os.fork()
            if pid == 0:
                os.dup2(listener.fileno(), 3); os.set_inheritable(3, True)
                os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', NOTIFY_SOCKET=name)
                os.execv(ckpt, [ckpt, 'serve'])
            return pid
        def hear():
            text = heard.recv(4096).decode()
            print(' '.join(text.split('\\n')), flush=True)
        def end(pid):
            os.kill(pid, signal.SIGTERM)
            hear()
            print('ended', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
        print('listens', flush=True)
        select.select([listener], [], [], 60)
        pid = start(); hear()
        while signal.sigwait([signal.SIGUSR1, signal.SIGTERM]) == signal.SIGUSR1:
            end(pid); pid = start(); hear()
        end(pid)
        if not abstract: os.unlink(name)
        """

    @Test(arguments: ["path", "abstract"]) func isStartedBySocketAndTells(kind: String) throws {
        try withCkpt { ckpt in
            let manager = try RunningCommand(
                ["python3", "-c", Self.manager, Ckpt.binary, ckpt.socket, kind], environment: ckpt.environment
            )
            #expect(eventually { manager.output == "listens\n" }, "\(manager.errors)")
            // The first call finds a socket and nobody behind it.
            let box = try ckpt.create("box")
            try box.say("n=1")
            let first = try #require(ckpt.serverPID)
            #expect(eventually { manager.output.contains("READY=1 MAINPID=\(first) STATUS=serves") })
            let environment = try String(
                contentsOfFile: "/proc/\(try #require(box.info().pid))/environ", encoding: .utf8)
            let inside = try box.sh("env") + environment
            #expect(!inside.contains("NOTIFY_SOCKET") && !inside.contains("LISTEN_"), "\(inside)")
            // A restart, with somebody who calls all the while.
            let stop = "\(ckpt.root)-stop"
            defer { unlink(stop) }
            let caller = try RunningCommand(
                [
                    "bash", "-c", "until test -e \"$1\"; do \"$2\" ps >/dev/null || exit 1; done", "bash",
                    stop, Ckpt.binary,
                ],
                environment: ckpt.environment)
            for _ in 1...2 {
                let before = ckpt.serverPID
                manager.signal(SIGUSR1)
                #expect(eventually { ckpt.serverPID.map { $0 != before } == true })
                ckpt.rememberServer()
                #expect(try box.say("n=$((n + 1)); echo $n") != "1")
            }
            _ = FileManager.default.createFile(atPath: stop, contents: nil)
            let called = caller.wait()
            #expect(called.status == 0, "\(called)")
            #expect(try box.say("echo $n") == "3")
            try ckpt.ok("rm", "-f", "box")
            manager.signal(SIGTERM)
            let ended = manager.wait()
            #expect(ended.status == 0, "\(ended)")
            #expect(ended.lines.filter { $0.hasPrefix("READY=1") }.count == 3, "\(ended)")
            #expect(ended.lines.filter { $0.hasPrefix("STOPPING=1") }.count == 3, "\(ended)")
            #expect(ended.lines.filter { $0 == "ended 0" }.count == 3, "\(ended)")
            #expect(access(ckpt.socket, F_OK) == 0, "the socket is systemd's to remove")
        }
    }

    @Test func aSocketThatIsNoneIsRefused() throws {
        try withCkpt { ckpt in
            let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$1\" serve 3</dev/null"
            let result = try run(["bash", "-c", script, "bash", Ckpt.binary], environment: ckpt.environment)
            expectRefusal(result, names: ["LISTEN_FDS", "descriptor 3"])
        }
    }

    @Test(.enabled(if: Machine.has("systemd-analyze"), "needs systemd-analyze")) func unitsAreUnderstood()
        throws
    {
        let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().path
        var template = Array("/tmp/ckpt-units-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw HarnessError("mkdtemp: errno \(errno)") }
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { try? FileManager.default.removeItem(atPath: path) }
        // The program is not installed here.
        let service = try String(contentsOfFile: "\(sources)/packaging/ckpt.service", encoding: .utf8)
        #expect(service.contains("ExecStart=/usr/bin/ckpt serve "))
        for promise in [
            "Type=notify", "KillMode=process", "Delegate=yes", "LimitNOFILE=", "OOMScoreAdjust=",
            "StateDirectory=ckpt",
        ] {
            #expect(service.contains("\n\(promise)"), "\(promise)")
        }
        try service.replacingOccurrences(of: "/usr/bin/ckpt", with: Ckpt.binary)
            .write(toFile: "\(path)/ckpt.service", atomically: false, encoding: .utf8)
        try FileManager.default.copyItem(
            atPath: "\(sources)/packaging/ckpt.socket", toPath: "\(path)/ckpt.socket")
        let verdict = try run([
            "systemd-analyze", "verify", "--man=no", "\(path)/ckpt.service", "\(path)/ckpt.socket",
        ])
        // Newer than Debian 12's systemd.
        let complaints = verdict.stderr.split(separator: "\n").filter { !$0.contains("DelegateSubgroup") }
        #expect(verdict.status == 0 && complaints.isEmpty, "\(verdict)")
    }
}
