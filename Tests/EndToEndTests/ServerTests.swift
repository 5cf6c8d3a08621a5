import Foundation
import Glibc
import Messages
import Testing

/// The server may die at any time; sandboxes and snapshots are where they were.
@Suite struct ServerTests {
    /// Kills the server as a crash would, and waits until it is gone.
    static func crash(_ ckpt: Ckpt) throws {
        let pid = try #require(ckpt.serverPID, "no server runs")
        kill(pid, SIGKILL)
        #expect(eventually { !Leftovers.isAlive(pid) }, "the server outlives SIGKILL")
    }

    @Test func startsOnFirstUseAndOnlyOnce() throws {
        try withCkpt { ckpt in
            #expect(ckpt.serverPID == nil)
            let parallel = try (1...4).map { try ckpt.start("create", "first\($0)") }
            for command in parallel { #expect(command.wait().status == 0, "\(command.errors)") }
            let pid = try #require(ckpt.serverPID)
            #expect(try ckpt.sandboxes().count == 4)
            #expect(ckpt.serverPID == pid)
            let second = try ckpt("serve", deadline: 20)
            expectRefusal(second, names: [ckpt.root], hint: false)
            #expect(ckpt.serverPID == pid)
            #expect(try ckpt.sandboxes().count == 4, "the second disturbed the first")
            var status = stat()
            #expect(stat(ckpt.socket, &status) == 0)
            #expect(
                status.st_mode & 0o7777 == 0o600,
                "the socket's mode is \(String(status.st_mode & 0o7777, radix: 8))")
            #expect(
                stat(ckpt.root, &status) == 0 && status.st_mode & 0o077 == 0, "others may look into the root")
        }
    }

    /// Its parent may have blocked them, as libdispatch's workers do, and the mask survives execve(2).
    @Test(arguments: [SIGTERM, SIGINT])
    func endsOnSignalsThatItsParentBlocked(number: Int32) throws {
        try withCkpt { ckpt in
            let block = """
                import os, signal, sys
                signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
                os.execv(sys.argv[1], sys.argv[1:])
                """
            let server = try RunningCommand(
                ["python3", "-c", block, Ckpt.binary, "serve"], environment: ckpt.environment)
            #expect(eventually { access(ckpt.socket, F_OK) == 0 }, "it does not listen")
            server.signal(number)
            let result = server.wait(deadline: 20)
            #expect(!result.overdue && result.status == 0, "\(result)")
        }
    }

    @Test(.enabled(if: Machine.has("curl"), "needs curl")) func speaksHTTP() throws {
        try withCkpt { ckpt in
            _ = try ckpt.create("web")
            func curl(_ arguments: String...) throws -> (code: String, body: Data) {
                let result = try run(
                    ["curl", "-s", "-w", "\n%{http_code}", "--unix-socket", ckpt.socket] + arguments)
                let split = result.stdout.lastIndex(of: "\n") ?? result.stdout.startIndex
                return (String(result.stdout[split...].dropFirst()), Data(result.stdout[..<split].utf8))
            }
            let version = try curl("http://ckpt/v1/version")
            #expect(version.code == "200")
            #expect(try JSONDecoder().decode(VersionInfo.self, from: version.body).pid == ckpt.serverPID)
            let list = try curl("http://ckpt/v1/sandboxes")
            #expect(
                try JSONDecoder().decode(SandboxList.self, from: list.body).sandboxes.map(\.name) == ["web"])
            let exec = try curl(
                "-d", #"{"argv": ["sh", "-c", "cat; echo err >&2; exit 3"], "stdin": "aGVsbG8="}"#,
                "http://ckpt/v1/sandboxes/web/exec")
            let ended = try JSONDecoder().decode(ExecResult.self, from: exec.body)
            #expect(
                exec.code == "200" && ended.exitCode == 3 && ended.stdout == "hello"
                    && ended.stderr == "err\n")
            let saved = try curl("-d", #"{"tag": "by-curl"}"#, "http://ckpt/v1/sandboxes/web/save")
            #expect(saved.code == "200")
            #expect(try ckpt.show("by-curl").tags == ["by-curl"])
            let missing = try curl("http://ckpt/v1/sandboxes/absent")
            #expect(
                missing.code == "404"
                    && String(decoding: missing.body, as: UTF8.self).contains("unknown_sandbox"))
            #expect(try curl("-d", "{not json", "http://ckpt/v1/sandboxes").code == "400")
            #expect(try curl("http://ckpt/v1/no-such-route").code == "404")
            #expect(try curl("-X", "DELETE", "http://ckpt/v1/version").code.hasPrefix("4"))
            #expect(try ckpt.sandboxes().count == 1)
        }
    }

    @Test func crashLosesNothing() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("survivor")
            try box.say("x=before; sleep 10000 &")
            let pid = try box.info().pid
            let first = try box.save("-t", "first")
            try box.say("x=after")
            try Self.crash(ckpt)
            #expect(pid.map { kill($0, 0) } == 0, "the sandbox died with the server")
            let found = try box.info()
            #expect(found.pid == pid && found.state == .running)
            #expect(try box.say("echo $x $(jobs -r | wc -l)") == "after 1", "the session is another")
            let second = try box.save()
            #expect(try ckpt.show(second).parent == first)
            try Self.crash(ckpt)
            try box.restore("first")
            #expect(try box.say("echo $x") == "before")
            try Self.crash(ckpt)
            #expect(try ckpt.fork("survivor")[0].say("echo $x") == "before")
            try ckpt.ok("serve", "--stop")
            #expect(ckpt.serverPID == nil)
            let again = try box.info()
            #expect(again.state == .running, "an orderly stop ends no sandbox: \(again)")
            #expect(try box.say("echo $x") == "before")
        }
    }

    @Test func layerOfACutDeletionIsSwept() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("stays")
            let first = try box.save()
            _ = try box.exec("bash", "-c", "echo more > /root/more")
            let second = try box.save()
            try box.restore(first)
            let layers = { try Set(FileManager.default.contentsOfDirectory(atPath: "\(ckpt.root)/layers")) }
            let before = try layers()
            try Self.crash(ckpt)
            // Where a server that is killed in a delete has come to: the snapshot is gone, its layer is not yet.
            try FileManager.default.removeItem(atPath: "\(ckpt.root)/snapshots/\(second)")
            let found = try ckpt.ok("doctor").stdout
            let swept = before.subtracting(try layers())
            #expect(swept.count == 1)
            #expect(
                found.contains("what nothing refers to was removed")
                    && found.contains("layers/\(swept.first ?? "none")"), "\(found)")
            #expect(try ckpt.ok("gc", "--dry-run").stdout.contains("0 snapshots and 0 other items"))
            try ckpt.ok("verify")
            #expect(try ckpt.fork(first)[0].exec("true").status == 0)
        }
    }

    @Test func serverThatTakesOverSaysWhatItFound() throws {
        try withCkpt { ckpt in
            _ = try ckpt.create("lives")
            #expect(
                try ckpt.ok("doctor").stdout.contains(
                    "recovery: when this server started: nothing to put right"))
            let box = try ckpt.create("dies")
            let snapshot = try box.save()
            let pid = try #require(try box.info().pid)
            try Self.crash(ckpt)
            kill(pid, SIGKILL)
            #expect(eventually { !Leftovers.isAlive(pid) })
            let cut = "\(ckpt.root)/sandboxes/cut"
            try FileManager.default.createDirectory(atPath: cut, withIntermediateDirectories: true)
            let found = try ckpt.ok("doctor").stdout
            #expect(
                found.contains(
                    "1 sandbox runs on; sandbox dies is dead: its PID 1 ended while no server ran; "))
            #expect(found.contains("its last snapshot is \(snapshot)"), "\(found)")
            #expect(found.contains("the creation of sandbox cut was cut short; removed"), "\(found)")
            #expect(!FileManager.default.fileExists(atPath: cut))
            let log = try String(contentsOfFile: "\(ckpt.root)/server.log", encoding: .utf8)
            #expect(log.contains("sandbox dies is dead") && log.contains("cut short; removed"), "\(log)")
        }
    }

    @Test func crashDuringASaveIsSweptUp() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("half")
            try box.startPython()
            try box.say("ask 'import os; big = os.urandom(300 << 20); print(1)'", deadline: 120)
            let good = try box.save("-t", "good", deadline: 120)
            try box.say("ask 'big = os.urandom(300 << 20); print(1)'")
            let save = try ckpt.start("save", "half", "-t", "bad")
            #expect(eventually(within: 30) { !ckpt.halfMade.isEmpty })
            try Self.crash(ckpt)
            _ = save.wait()
            #expect(try ckpt.tree().snapshots.map(\.id) == [good], "a half-made snapshot is to be seen")
            #expect(ckpt.halfMade == [], "staging was not swept")
            try box.restore(good)
            #expect(try box.say("ask 'print(len(big) >> 20)'") == "300")
            let next = try box.save("-t", "bad", deadline: 120)
            #expect(try ckpt.show(next).parent == good)
        }
    }

    /// A server killed between the start of a sandbox and the writing of its record left a process for good.
    @Test func crashWhileSandboxesAreMadeLeavesNoProcess() throws {
        try withCkpt { ckpt in
            for round in 1...8 {
                _ = try ckpt.create("whole\(round)")
                let cut = try ckpt.start("create", "cut\(round)")
                usleep(UInt32.random(in: 5_000..<45_000))
                try Self.crash(ckpt)
                _ = cut.wait()
                for number in 1...round {
                    #expect(try ckpt("exec", "whole\(number)", "--", "true").status == 0)
                }
            }
        }
    }

    @Test func catalogIsRebuilt() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("indexed")
            try box.say("x=1")
            let first = try box.save("-t", "one", "-m", "the first of them")
            try box.say("x=2")
            let second = try box.save("-t", "two")
            let before = try ckpt.tree()
            try ckpt.ok("serve", "--stop")
            for suffix in ["", "-wal", "-shm", "-journal"] { unlink("\(ckpt.root)/catalog.sqlite\(suffix)") }
            let after = try ckpt.tree()
            #expect(after.snapshots.map(\.id) == before.snapshots.map(\.id))
            #expect(after.snapshots.map(\.parent) == [nil, first])
            #expect(after.snapshots.map(\.tags) == [["one"], ["two"]])
            #expect(after.snapshots[0].message == "the first of them")
            #expect(after.snapshots[1].id == second)
            try box.restore("one")
            #expect(try box.say("echo $x") == "1")
            #expect(try ckpt.fork("two")[0].say("echo $x") == "2")
        }
    }
}
