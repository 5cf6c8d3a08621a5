import Foundation
import Messages
import Testing

/// The snapshot tree: who came from whom, what may go, and what files come and go with `cp`.
@Suite struct TreeTests {
    @Test func parentsTagsAndAncestors() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("tree")
            #expect(try ckpt.tree().snapshots.isEmpty)
            let a = try box.save("-t", "a", "-m", "a message with \"quotes\"")
            let b = try box.save("-t", "b")
            try box.restore("a")
            let c = try box.save("-t", "c")
            let fork = try ckpt.fork("b", name: "branch")[0]
            #expect(fork.name == "branch")
            try fork.sh("head -c 2000000 /dev/urandom > /root/two-megabytes")
            let d = try fork.save("-t", "d")

            let tree = try ckpt.tree()
            let nodes = Dictionary(uniqueKeysWithValues: tree.snapshots.map { ($0.id, $0) })
            #expect(tree.snapshots.map(\.id) == [a, b, c, d], "oldest first")
            #expect([a, b, c, d].map { nodes[$0]?.parent } == [nil, a, a, b])
            #expect(nodes[a]?.children.sorted() == [b, c].sorted() && nodes[d]?.children == [])
            #expect(nodes[a]?.message == "a message with \"quotes\"" && nodes[a]?.tags == ["a"])
            #expect(
                nodes[c]?.standing == ["tree"] && nodes[d]?.standing == ["branch"] && nodes[a]?.standing == []
            )
            #expect(nodes[d]?.sandbox == "branch" && nodes[d]?.spec.base == .host)
            #expect(
                nodes[d].map { $0.layerBytes >= 2_000_000 && $0.layerBytes < 4_000_000 } == true,
                "\(nodes[d]!.layerBytes)")
            for node in tree.snapshots {
                #expect(node.processBytes > 0 && node.processes >= 1 && node.timings?.frozenMs != nil)
                #expect(abs(node.created - Date().timeIntervalSince1970) < 120)
            }
            for (reference, id) in [
                ("d~1", b), ("d~2", a), ("d~0", d), ("branch~0", d), ("tree~1", a), (String(c.prefix(14)), c),
            ] {
                #expect(try ckpt.show(reference).id == id, "\(reference)")
            }
            let drawn = try ckpt.ok("tree").stdout
            for word in ["a", "b", "c", "d", "tree", "branch"] { #expect(drawn.contains(word)) }
            // A tag that is given again moves nowhere by itself, and may be read at once.
            try ckpt.ok("tag", d, "best")
            #expect(try ckpt.show("best").tags.sorted() == ["best", "d"])
        }
    }

    @Test func deletionNeverBreaksWhatRemains() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("trunk")
            var ids: [String] = []
            for number in 1...4 {
                try box.sh("head -c 1000000 /dev/urandom > /root/file\(number)")
                try box.say("n=\(number)")
                ids.append(try box.save("-t", "s\(number)"))
            }
            expectRefusal(try ckpt("delete", "s2"), names: [ids[1], ids[2]])
            expectRefusal(try ckpt("delete", "s4"), names: ["trunk"])
            let leaf = try ckpt.fork("s3", name: "side")[0]
            let side = try leaf.save("-t", "side-leaf")
            try ckpt.ok("rm", "-f", "side")
            let deleted = try ckpt.json(DeleteResult.self, ["delete", "side-leaf"])
            #expect(deleted.deleted == [side])
            #expect(try ckpt.tree().snapshots.map(\.id) == ids)

            try box.restore("s2")
            let subtree = try ckpt.json(DeleteResult.self, ["delete", "s3", "--subtree"])
            #expect(Set(subtree.deleted) == Set(ids[2...]))
            _ = try ckpt.json(GCResult.self, ["gc"])
            #expect(try ckpt.tree().snapshots.map(\.id) == Array(ids[..<2]))
            #expect(try ckpt("show", "s3").status == 125)
            #expect(try box.say("echo $n; ls /root | xargs") == "2\nfile1 file2")
            try box.restore("s1")
            #expect(try ckpt.fork("s2")[0].say("echo $n; ls /root | xargs") == "2\nfile1 file2")
        }
    }

    @Test func garbageIsFreed() throws {
        try withCkpt { ckpt in
            func used() throws -> Int {
                Int(try run(["du", "-s", "--block-size=1K", ckpt.root]).line.prefix { $0 != "\t" }) ?? 0
            }
            let box = try ckpt.create("big")
            try box.sh("head -c 20000000 /dev/urandom > /root/blob")
            _ = try box.save("-t", "with")
            try box.sh("rm /root/blob")
            _ = try box.save("-t", "without")
            let full = try used()
            #expect(full > 20_000)
            try ckpt.ok("reset", "big")
            try ckpt.ok("delete", "with", "--subtree")
            try ckpt.ok("gc")
            #expect(try eventually { try used() < full - 19_000 }, "gc freed nothing of \(full) KiB")
            #expect(try box.exec("true").status == 0)
        }
    }

    @Test func copiesBothWays() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("copy")
            let host = "/tmp/ckpt-e2e-copy-\(getpid())"
            try FileManager.default.createDirectory(atPath: host + "/out", withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(atPath: host) }
            let blob = try run(["head", "-c", "3000000", "/dev/urandom"]).stdoutData
            try blob.write(to: URL(fileURLWithPath: host + "/blob"))
            chmod(host + "/blob", 0o640)
            try ckpt.ok("cp", host + "/blob", "copy:/root/blob")
            #expect(try box.exec("cat", "/root/blob").stdoutData == blob)
            #expect(try box.sh("stat -c %a /root/blob") == "640")
            try box.sh(
                """
                mkdir -p '/root/d/sub dir'; cd /root/d
                echo 1 > one; ln -s one link; chmod 755 one; mkfifo pipe; touch $'new\\nline'
                """
            )
            try ckpt.ok("cp", "copy:/root/d", host + "/out")
            let listed = try run([
                "bash", "-c", "cd \"$1\"; stat -c '%A %N' one link 'sub dir'", "bash", host + "/out/d",
            ])
            #expect(
                listed.stdout == "-rwxr-xr-x 'one'\nlrwxrwxrwx 'link' -> 'one'\ndrwxr-xr-x 'sub dir'\n",
                "\(listed)")
            #expect(FileManager.default.fileExists(atPath: host + "/out/d/new\nline"))
            try ckpt.ok("cp", host + "/out/d", "copy:/tmp")
            #expect(try box.sh("cat /tmp/d/link") == "1")
            try ckpt.ok("cp", "copy:/root/blob", host + "/back")
            #expect(try Data(contentsOf: URL(fileURLWithPath: host + "/back")) == blob)
            // A link inside the sandbox must not lead a copy out of it.
            try box.sh("ln -s /etc/hostname /root/escape; ln -s / /root/top")
            try ckpt.ok("cp", "copy:/root/top/etc/hostname", host + "/name")
            #expect(
                try String(contentsOfFile: host + "/name", encoding: .utf8)
                    == (try box.sh("cat /etc/hostname") + "\n"))
            expectRefusal(try ckpt("cp", "copy:/no/such/file", host), names: ["/no/such/file"], hint: false)
            expectRefusal(try ckpt("cp", host + "/missing", "copy:/root"), names: ["missing"], hint: false)
        }
    }
}
