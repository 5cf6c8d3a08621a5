import Foundation
import Messages
import Testing

/// `ckpt gc` with a policy: what it announces is what goes, and what stays is whole.
@Suite struct RetentionTests {
    /// Bytes on disk of everything that a collection may touch, as du(1) counts.
    private func used(_ ckpt: Ckpt) throws -> Int64 {
        let places = ["snapshots", "layers", "digests", "staging"].map { "\(ckpt.root)/\($0)" }
        let counted = try run(["du", "-c", "-s", "--block-size=1"] + places)
        return Int64(counted.lines.last!.prefix { $0.isNumber })!
    }

    /// Waits until nothing happens to the store any more: a snapshot that is not flushed yet has a file more.
    private func settle(_ ckpt: Ckpt) {
        #expect(
            eventually {
                let ids =
                    (try? FileManager.default.contentsOfDirectory(atPath: "\(ckpt.root)/snapshots")) ?? []
                return ckpt.staging.isEmpty
                    && ids.allSatisfy {
                        !FileManager.default.fileExists(atPath: "\(ckpt.root)/snapshots/\($0)/boot")
                    }
            }, "the store does not come to rest")
    }

    @Test func policiesThinTheTreeOut() throws {
        try withCkpt { ckpt in
            let main = try ckpt.create("main")
            var ids: [String] = []
            for number in 0..<6 {
                try main.say("n=\(number)")
                try main.sh("head -c 300000 /dev/urandom > /root/\(number)")
                ids.append(try main.save(number == 2 ? "-t" : "-m", "two"))
            }
            let side = try ckpt.fork(ids[1], name: "side")[0]
            _ = try side.save()
            let sideLast = try side.save("-t", "side-end")
            let left = try ckpt.tree().snapshots.map(\.id)
            settle(ckpt)

            // Rules: the newest of each line, what has a tag, and what sandboxes stand on.
            let policy = ["gc", "--keep-last", "1", "--keep-tagged"]
            let planned = try ckpt.json(GCResult.self, policy + ["--dry-run"])
            #expect(Set(planned.deleted.map(\.id)) == Set(left).subtracting([ids[2], ids[5], sideLast]))
            let announced = try ckpt.succeed(policy + ["--dry-run"])
            #expect(announced.stderr.contains("dry run"))
            #expect(try ckpt.tree().snapshots.map(\.id) == left, "a dry run removes nothing")
            settle(ckpt)
            let before = try used(ckpt)
            let done = try ckpt.succeed(policy)
            #expect(done.stdout == announced.stdout, "what is announced is what goes")
            #expect(try before - used(ckpt) == planned.freedBytes, "du agrees")
            #expect(planned.freedBytes > 0 && done.stdout.contains("(\(planned.freedBytes) bytes)"))

            // Middle ones have gone: what is left hangs together, is whole, and can be gone back to.
            let nodes = Dictionary(uniqueKeysWithValues: try ckpt.tree().snapshots.map { ($0.id, $0) })
            #expect(nodes.count == 3)
            #expect(nodes[ids[2]]?.parent == nil && nodes[ids[5]]?.parent == ids[2])
            #expect(try ckpt("verify").status == 0)
            for (snapshot, number) in [(ids[2], 2), (ids[5], 5)] {
                try main.restore(snapshot)
                #expect(try main.say("echo $n; ls /root | wc -l") == "\(number)\n\(number + 1)")
            }
        }
    }

    @Test func limitAndPathsAreKept() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("box")
            var ids: [String] = []
            for number in 0..<4 {
                try box.sh("head -c 1000000 /dev/urandom > /root/\(number)")
                ids.append(try box.save())
            }
            try box.restore(ids[1])
            settle(ckpt)
            let stored = try ckpt.json(GCResult.self, ["gc", "--max-bytes", "1t", "--dry-run"])
            #expect(stored.deleted.isEmpty && stored.kept == 4)
            let limit = "\(stored.storedBytes! - 1)"
            let fitted = try ckpt.json(GCResult.self, ["gc", "--max-bytes", limit, "--keep-paths"])
            #expect(fitted.deleted.map(\.id) == [ids[3]], "the leaf, and no more than it takes")
            #expect(fitted.storedBytes! < stored.storedBytes!)
            let most = try ckpt.ok("gc", "--max-bytes", "1k", "--keep-paths")
            #expect(most.stderr.contains("more than --max-bytes"), "\(most)")
            #expect(try ckpt.tree().snapshots.map(\.id) == Array(ids[...1]), "the path to where box stands")
            #expect(try box.sh("ls /root | xargs") == "0 1")
            #expect(try ckpt("gc", "--keep-paths").status == 2)
            expectRefusal(
                try ckpt("gc", "--keep-within", "soon"), status: 2, names: ["--keep-within"], hint: false)
        }
    }
}
