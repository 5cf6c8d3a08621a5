import Foundation
import Glibc
import Messages
import Testing

/// Snapshots that move from store to store: two servers, the real CRIU, real archives.
@Suite struct ExportTests {
    /// A file that goes when the test is over.
    private func withFile(_ body: (String) throws -> Void) throws {
        let path = "/tmp/ckpt-e2e-archive-\(UUID().uuidString.prefix(8))"
        defer { unlink(path) }
        try body(path)
    }

    @Test func sandboxGoesOnInAnotherStore() throws {
        try withCkpt { here in
            try withCkpt { there in
                try withFile { file in
                    let box = try here.create("traveller")
                    try box.sh(
                        "mkdir /root/d && seq 1000 > /root/d/n && ln /root/d/n /root/n && rm -r /usr/share/doc/bash"
                    )
                    try box.say("x=1; cd /root/d; sleep 1000 &")
                    let first = try box.save("-t", "first", "-m", "the first one")
                    try box.say("x=2; echo more > more")
                    let second = try box.save("-t", "second")
                    let pid = try box.say("echo $$ $!")
                    #expect(try here.ok("export", "second", "-o", file).line.hasPrefix(file))
                    #expect(try run(["stat", "-c", "%a", file]).line == "600")
                    #expect(try there.ok("import", file).line == second)
                    #expect(try there.ok("import", file).stderr.contains("here already"))
                    #expect(try there.show("second").parent == nil)
                    let fork = try there.fork("second", name: "twin")[0]
                    #expect(try fork.say("echo $$ $!") == pid)
                    #expect(
                        try fork.say(
                            "echo $x $PWD; cat more; tail -n 1 /root/n; ls /usr/share/doc/bash 2>&1 | wc -l; jobs"
                        )
                        .hasPrefix("2 /root/d\nmore\n1000\n1\n[1]+  Running"))
                    // The parent comes later, through a pipe, and is the parent then.
                    let archive = try here.ok("export", "first", "--level", "1").stdoutData
                    #expect(try there.ok("import", "-t", "start", stdin: archive).line == first)
                    #expect(try there.show("second").parent == first)
                    #expect(try Set(there.show("first").tags) == ["first", "start"])
                    #expect(try there.show("first").message == "the first one")
                    try fork.restore(first)
                    #expect(try fork.say("echo $x; ls /root/d") == "1\nn")
                    #expect(try there.json(VerifyReport.self, ["verify"]).damage == [])
                    // What was made there comes home, without what is here.
                    try fork.say("x=3")
                    let third = try fork.save("-t", "third")
                    let list = try here.ok("objects").stdoutData
                    let small = try there.ok("export", "third", "--have", "-", stdin: list).stdoutData
                    let whole = try there.ok("export", "third").stdoutData
                    #expect(small.count * 3 < whole.count, "\(small.count) of \(whole.count)")
                    #expect(try here.ok("import", stdin: small).line == third)
                    #expect(try here.show("third").parent == first)
                    try box.restore("third")
                    #expect(try box.say("echo $x") == "3")
                    #expect(try here.json(VerifyReport.self, ["verify"]).damage == [])
                }
            }
        }
    }

    @Test func wholePathTravelsAtOnce() throws {
        try withCkpt { here in
            try withCkpt { there in
                let box = try here.create("path")
                try box.startPython()
                try box.say("x=0")
                var ids: [String] = []
                for step in 1...4 {
                    try box.say("x=\(step); echo \(step) >> /root/steps")
                    ids.append(try box.save())
                }
                let whole = try here.ok("export", ids[3], "--with-ancestors").stdoutData
                let single = try here.ok("export", ids[3]).stdoutData
                // Memory that they share goes once.
                #expect(whole.count < single.count * 2, "\(whole.count) and \(single.count)")
                let result = try JSONDecoder().decode(
                    ImportResult.self, from: try there.ok("import", "--json", stdin: whole).stdoutData)
                #expect(result.imported == ids && result.known == [] && result.snapshot == ids[3])
                for (index, id) in ids.enumerated() {
                    #expect(try there.show(id).parent == (index == 0 ? nil : ids[index - 1]))
                    let twin = try there.fork(id, name: "step")[0]
                    #expect(try twin.say("echo $x $(wc -l < /root/steps)") == "\(index + 1) \(index + 1)")
                    try there.ok("rm", "-f", twin.name)
                }
                #expect(try there.json(VerifyReport.self, ["verify"]).damage == [])
            }
        }
    }

    @Test func aFullDiskRefusesAnImportAndKeepsTheRest() throws {
        try withCkpt { here in
            let box = try here.create("big")
            try box.sh("head -c 40000000 /dev/urandom > /root/noise")
            let big = try box.save()
            let archive = try here.ok("export", big, "--level", "0").stdoutData
            let disk = "/tmp/ckpt-e2e-disk-\(UUID().uuidString.prefix(8))"
            mkdir(disk, 0o700)
            defer { rmdir(disk) }
            try #require(mount("tmpfs", disk, "tmpfs", 0, "size=30m") == 0)
            defer { umount2(disk, Int32(MNT_DETACH)) }
            try withCkpt(root: disk) { there in
                let small = try there.create("small")
                let witness = try Witness(small)
                let kept = try small.save("-t", "kept")
                expectRefusal(try there("import", stdin: archive), names: ["no space left"])
                try witness.check("an import into a full disk")
                #expect(eventually { there.staging.isEmpty })
                #expect(try there.tree().snapshots.map(\.id) == [kept])
                #expect(try there.json(VerifyReport.self, ["verify"]).damage == [])
                try small.restore("kept")
                let next = try small.save()
                #expect(try there.show(next).parent == kept)
            }
        }
    }

    @Test func whoBreaksOffLeavesNothing() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("cut")
            try box.sh("head -c 3000000 /dev/urandom > /root/noise")
            let id = try box.save()
            let archive = try ckpt.ok("export", id, "--level", "0").stdoutData
            try withCkpt { there in
                try there.ok("ps")
                // A client that is killed in the middle, at several places.
                for part in [1, 700, 5000, archive.count / 2, archive.count - 5000] {
                    let client = try there.start("import", stdin: nil)
                    client.write(String(decoding: archive.prefix(1), as: UTF8.self))
                    client.closeStdin()
                    _ = client.wait()
                    expectRefusal(
                        try there("import", stdin: archive.prefix(part)), names: ["the archive is refused"])
                    #expect(eventually { there.staging.isEmpty }, "after \(part) bytes")
                }
                // One each: while some process still has the first open, what nobody has read stays in it.
                let fifos = ["\(there.root).fifo-1", "\(there.root).fifo-2"]
                for fifo in fifos { mkfifo(fifo, 0o600) }
                defer { for fifo in fifos { unlink(fifo) } }
                let client = try there.start("import", fifos[0])
                let writer = try #require(FileHandle(forWritingAtPath: fifos[0]))
                try writer.write(contentsOf: archive.prefix(archive.count / 2))
                #expect(eventually { !there.halfMade.isEmpty })
                client.signal(SIGKILL)
                try writer.close()
                _ = client.wait()
                #expect(eventually { there.staging.isEmpty })
                // The server itself is killed in the middle: the next one sweeps.
                let second = try there.start("import", fifos[1])
                let again = try #require(FileHandle(forWritingAtPath: fifos[1]))
                try again.write(contentsOf: archive.prefix(archive.count / 2))
                #expect(eventually { !there.halfMade.isEmpty }, "\(there.staging) \(there.serverLog)")
                there.rememberServer()
                kill(try #require(there.serverPID), SIGKILL)
                try? again.close()
                #expect(second.wait().status == 125)
                #expect(try there.tree().snapshots.isEmpty)
                #expect(there.staging.isEmpty)
                #expect(try there.ok("import", stdin: archive).line == id)
                there.rememberServer()
                // An export into a reader that goes away, and to a file that cannot be.
                _ = try run(
                    ["bash", "-c", "\(Ckpt.binary) export \(id) | head -c 10 > /dev/null"],
                    environment: ["CKPT_ROOT": there.root])
                expectRefusal(
                    try there("export", id, "-o", "/proc/no/archive"), names: ["/proc/no"], hint: false)
                #expect(try there("export", "-o", "x").status == 2)
                #expect(try there("import", "--max-bytes", "many", stdin: archive).status == 2)
                expectRefusal(
                    try there("import", "--max-bytes", "1m", stdin: archive), names: ["allowed"])
                #expect(try there.json(VerifyReport.self, ["verify"]).damage == [])
            }
        }
    }
}
