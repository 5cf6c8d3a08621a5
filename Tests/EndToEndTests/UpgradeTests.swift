import Foundation
import Glibc
import Messages
import Testing

/// One server takes another's place while sandboxes run, and nobody who calls meanwhile notices.
@Suite struct UpgradeTests {
    /// Asks for the version again and again, each time on a connection of its own, until a file appears; prints how
    /// often, and what went wrong.
    private static let caller = """
        import os, socket, sys
        asked, pids = 0, set()
        while not os.path.exists(sys.argv[2]):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(60)
            s.connect(sys.argv[1])
            s.sendall(b'GET /v1/version HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')
            answer = b''
            while piece := s.recv(65536): answer += piece
            s.close()
            assert answer.startswith(b'HTTP/1.1 200'), answer
            pids.add(answer.split(b'"pid":')[1].split(b',')[0].split(b'}')[0])
            asked += 1
        print(asked, len(pids))
        """

    private func inode(_ path: String) -> ino_t {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_ino : 0
    }

    @discardableResult
    private func upgrade(_ ckpt: Ckpt, environment: [String: String] = [:]) throws -> VersionInfo {
        let before = try #require(ckpt.serverPID)
        let result = try run(
            [ckpt.program, "serve", "--upgrade", "--json"],
            environment: ckpt.environment.merging(environment) { $1 })
        guard result.status == 0 else { throw HarnessError("\(result)\n\(ckpt.serverLog)") }
        ckpt.rememberServer()
        let now = try JSONDecoder().decode(VersionInfo.self, from: result.stdoutData)
        #expect(now.pid != before && !Leftovers.isAlive(before), "the old server is there still")
        return now
    }

    @Test func nobodyNotices() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("box")
            try box.say("n=0")
            let pid = try box.info().pid
            let socket = inode(ckpt.socket)
            let stop = "\(ckpt.root)-stop"
            defer { unlink(stop) }
            let callers = try (0..<2).map { _ in
                try RunningCommand(["python3", "-c", Self.caller, ckpt.socket, stop])
            }
            // Session commands one after the other: each is done once, in order.
            let count = try RunningCommand(
                [
                    "bash", "-c",
                    """
                    until test -e "$1"; do
                      "$2" exec --session main box -- 'n=$((n + 1)); echo $n' || exit 1
                    done
                    """, "bash", stop, Ckpt.binary,
                ], environment: ckpt.environment)
            // Streams, attached and buffered, are taken up where they were.
            let numbers = "for ((i = 1; i <= 200; i++)); do echo $i; sleep 0.02; done; exit 6"
            let stream = try ckpt.start("exec", "box", "--", "bash", "-c", numbers)
            let buffered = try ckpt.start("exec", "--json", "box", "--", "bash", "-c", numbers)
            #expect(eventually { stream.output.contains("\n20\n") && count.output.contains("3\n") })
            // What runs is finished first.
            try box.sh("head -c 50000000 /dev/urandom > /root/blob")
            let saves = try ckpt.start("save", "box", "-t", "during")
            try upgrade(ckpt)
            try box.say("m=1", "other")
            try upgrade(ckpt)
            #expect(eventually { stream.output.contains("\n120\n") })
            let saved = saves.wait()
            #expect(saved.status == 0, "\(saved)")
            let ended = stream.wait()
            #expect(ended.status == 6 && ended.stdout == (1...200).map { "\($0)\n" }.joined(), "\(ended)")
            let whole = buffered.wait()
            let result = try JSONDecoder().decode(ExecResult.self, from: whole.stdoutData)
            #expect(result.exitCode == 6 && result.stdout == ended.stdout, "\(whole)")
            _ = FileManager.default.createFile(atPath: stop, contents: nil)
            for caller in callers {
                let said = caller.wait()
                #expect(said.status == 0, "\(said)")
                let words = said.line.split(separator: " ").compactMap { Int($0) }
                #expect(words.count == 2 && words[0] > 10 && words[1] == 3, "asked three servers: \(said)")
            }
            let counted = count.wait()
            let lines = counted.lines.compactMap { Int($0) }
            #expect(
                counted.status == 0 && lines == Array(1...max(lines.count, 1)) && lines.count > 10,
                "\(counted)")
            #expect(inode(ckpt.socket) == socket, "it is the same socket all along")
            #expect(try box.info().pid == pid && box.say("echo $m", "other") == "1")
            try box.restore("during")
        }
    }

    /// Asks for the numbers again and again, each time on a connection of its own, until a file appears; prints how many
    /// servers have answered.
    private static let scraper = """
        import os, sys, urllib.request
        started = set()
        while not os.path.exists(sys.argv[2]):
            with urllib.request.urlopen(f"http://{sys.argv[1]}/metrics", timeout=60) as answer:
                lines = answer.read().decode().splitlines()
            begin = next(line for line in lines if line.startswith("process_start_time_seconds"))
            if begin not in started: print(len(started) + 1, flush=True)
            started.add(begin)
        """

    /// The port for the numbers goes from server to server as the socket does.
    @Test func numbersAreToldThroughout() throws {
        try withCkpt { ckpt in
            let place = "127.0.0.1:\(10_000 + Int(getpid()) % 10_000)"
            let serving = ["serve", "--upgrade", "--metrics-listen", place]
            try ckpt.succeed(serving)
            ckpt.rememberServer()
            let stop = "\(ckpt.root)-stop"
            defer { unlink(stop) }
            let scraping = try RunningCommand(["python3", "-c", Self.scraper, place, stop])
            for number in 1...3 {
                let before = ckpt.serverPID
                #expect(eventually { scraping.output.contains("\(number)\n") }, "\(scraping.errors)")
                try ckpt.succeed(serving)
                ckpt.rememberServer()
                #expect(ckpt.serverPID != before)
            }
            // One that cannot have its port leaves the other one alone.
            let pid = ckpt.serverPID
            expectRefusal(
                try ckpt("serve", "--upgrade", "--metrics-listen", "nonsense"), names: ["no address and port"]
            )
            try withCkpt { other in
                try other.ok("ps")
                let pid = other.serverPID
                expectRefusal(try other("serve", "--upgrade", "--metrics-listen", place), names: [place])
                #expect(other.serverPID == pid && pid != nil)
            }
            #expect(ckpt.serverPID == pid && pid != nil)
            #expect(eventually { scraping.output.contains("4\n") }, "\(scraping.errors)")
            _ = FileManager.default.createFile(atPath: stop, contents: nil)
            let scraped = scraping.wait()
            #expect(scraped.status == 0 && scraped.lines == ["1", "2", "3", "4"], "\(scraped)")
            // The next one is given none.
            try upgrade(ckpt)
            let none = try run(["python3", "-c", Self.scraper, place, "\(stop)-never"])
            #expect(none.stderr.contains("refused"), "\(none)")
        }
    }

    @Test func startsOneWhereNoneRunsAndKeepsOneThatCannotBeReplaced() throws {
        try withCkpt { ckpt in
            #expect(try ckpt("serve", "--upgrade").status == 0)
            ckpt.rememberServer()
            let pid = ckpt.serverPID
            _ = try ckpt.create("box")
            // A new version that lacks something, or cannot read the store, finds that out first.
            let lacking = try run(
                [Ckpt.binary, "serve", "--upgrade"],
                environment: ckpt.environment.merging(["CKPT_INIT": "/nowhere"]) { $1 })
            expectRefusal(lacking, names: ["ckpt-init"], hint: false)
            #expect(ckpt.serverPID == pid && inode(ckpt.socket) != 0)
            let format = "\(ckpt.root)/format"
            let before = try String(contentsOfFile: format, encoding: .utf8)
            try "1\n".write(toFile: format, atomically: false, encoding: .utf8)
            expectRefusal(try ckpt("serve", "--upgrade"), names: ["format 1"])
            try before.write(toFile: format, atomically: false, encoding: .utf8)
            #expect(ckpt.serverPID == pid)
            #expect(try ckpt("serve", "--replace", "--group", "no-such-group").status == 125)
            #expect(ckpt.serverPID == pid)
        }
    }

    /// A ckpt-init of another build: its sources, changed by a sed script.
    private func otherInit(_ change: String, at path: String) throws {
        let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().path
        let made = try run(
            [
                "bash", "-ec",
                """
                mkdir -p "$2/Sources/CLinux" "$2/scripts"
                cp -r "$1/Sources/SandboxInit" "$2/Sources/"; cp -r "$1/Sources/CLinux/include" "$2/Sources/CLinux/"
                cp "$1/scripts/build-init" "$2/scripts/"
                sed -i "$3" "$2/Sources/SandboxInit/connection.c"
                ! cmp -s "$1/Sources/SandboxInit/connection.c" "$2/Sources/SandboxInit/connection.c"
                "$2/scripts/build-init" "$2/ckpt-init"
                """, "bash", sources, path, change,
            ])
        guard made.status == 0 else { throw HarnessError("another ckpt-init: \(made)") }
    }

    private func withInit(_ change: String, _ body: (Ckpt, String) throws -> Void) throws {
        var template = Array("/tmp/ckpt-init-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw HarnessError("mkdtemp: errno \(errno)") }
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try otherInit(change, at: path)
        try withCkpt { ckpt in
            let first = try run(
                [Ckpt.binary, "create", "box"],
                environment: ckpt.environment.merging(["CKPT_INIT": "\(path)/ckpt-init"]) { $1 })
            #expect(first.status == 0, "\(first)")
            ckpt.rememberServer()
            try body(ckpt, path)
        }
    }

    /// Version 7 of the protocol, from 1 on: newer than the server, and made to be understood by it.
    @Test func otherVersionsOfPIDOneGoOn() throws {
        try withInit(#"s/= CKPT_INIT_VERSION, .offset = CKPT_INIT_OLDEST/= 7, .offset = 1/"#) { ckpt, _ in
            let box = Sandbox(ckpt: ckpt, name: "box")
            try box.say("n=41")
            let snapshot = try box.save()
            try upgrade(ckpt)
            #expect(try box.say("n=$((n + 1)); echo $n") == "42")
            let kept = { try FileManager.default.contentsOfDirectory(atPath: "\(ckpt.root)/init").count }
            #expect(try kept() == 2, "the new server keeps its own PID 1 beside the old one")
            let later = try box.save()
            try box.restore(snapshot)
            #expect(try box.say("echo $n") == "41")
            #expect(try ckpt.fork(later)[0].say("echo $n") == "42")
            let new = try ckpt.create("new")
            #expect(try new.say("echo $((6 * 7))") == "42")
            try ckpt.ok("reset", "box")
            #expect(try box.say("echo fresh$n") == "fresh")
        }
    }

    /// One that has nothing in common with the server is left alone: nothing of it is lost, and it says why.
    @Test func strangersAreLeftAlone() throws {
        let change =
            #"s/= CKPT_INIT_VERSION, .offset = CKPT_INIT_OLDEST/= access("\/root\/strange", F_OK) ? 1 : 9/"#
        try withInit(change) { ckpt, _ in
            let box = Sandbox(ckpt: ckpt, name: "box")
            try box.say("n=41; touch /root/strange")
            let pid = try #require(try box.info().pid)
            try upgrade(ckpt)
            let info = try box.info()
            #expect(info.state == .running && info.pid == pid && info.processes > 1, "\(info)")
            #expect(info.reason?.contains("version 9 of the protocol") == true, "\(info)")
            for words in [["exec", "box", "true"], ["save", "box"], ["pause", "box"]] {
                expectRefusal(try ckpt.call(words), names: ["box", "runs on", "version 9", "1 to 4"])
            }
            #expect(Leftovers.isAlive(pid))
            // A server that understands it finds it as it was.
            #expect(unlink("/proc/\(pid)/root/root/strange") == 0)
            try upgrade(ckpt)
            #expect(try box.say("n=$((n + 1)); echo $n; touch /root/strange") == "42")
            let snapshot = try box.save()
            try upgrade(ckpt)
            expectRefusal(try ckpt("rm", "box"), names: ["running"])
            try ckpt.ok("reset", "box")
            #expect(
                eventually { !Leftovers.isAlive(pid) }, "what was left alone is ended by what takes its place"
            )
            #expect(try box.say("echo fresh$n") == "fresh")
            _ = snapshot
        }
    }
}
