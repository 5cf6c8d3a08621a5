import Foundation
import Messages
import Testing

/// Saves of restores of saves, and one snapshot restored many times.
@Suite struct GenerationTests {
    @Test func twentyGenerationsCarryTheirState() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("line")
            try box.say("n=0; log=(); sleep 10000 & job=$!; exec 7>/root/held; cd /root")
            var ids: [String] = []
            for generation in 1...20 {
                try box.say(
                    "n=\(generation); log+=($n); echo $n >&7; echo x > file$n"
                )
                ids.append(try box.save("-t", "g\(generation)"))
                try box.say("n=lost; log=(); rm -f file*; echo lost >&7; kill $job")
                try box.restore()
                let state = try box.say(
                    "echo $n ${#log[@]} $(wc -l < held) $(ls file* | wc -l); kill -0 $job && echo alive")
                #expect(
                    state == "\(generation) \(generation) \(generation) \(generation)\nalive", "\(generation)"
                )
            }
            let tree = try ckpt.tree().snapshots
            for (child, parent) in zip(ids.dropFirst(), ids) {
                #expect(tree.first { $0.id == child }?.parent == parent)
            }
            try box.restore("g3")
            #expect(try box.say("echo $n ${#log[@]} $(wc -l < held) $(ls file* | wc -l)") == "3 3 3 3")
            let late = try ckpt.fork("g20~5")[0]
            #expect(
                try late.say("echo $n; cat held | xargs") == "15\n"
                    + (1...15).map(String.init).joined(separator: " "))
        }
    }

    @Test func oneSnapshotManyTimes() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("origin")
            try box.say("secret=$RANDOM$RANDOM; echo $secret > /root/secret; sleep 10000 &")
            func state(_ box: Sandbox) throws -> String {
                try box.say("echo $secret $(cat /root/secret) $$ $(jobs -pr)")
            }
            let before = try state(box)
            let snapshot = try box.save("-t", "start")
            for round in 1...10 {
                try box.say("secret=\(round); echo \(round) > /root/secret; kill %1")
                try box.restore("start")
                #expect(try state(box) == before, "restore \(round)")
            }
            let forks = try ckpt.fork("start", count: 4, name: "four")
            for fork in forks { #expect(try state(fork) == before, "\(fork.name)") }
            for fork in forks { try fork.say("secret=\(fork.name); echo $secret > /root/secret") }
            for fork in forks { #expect(try state(fork).hasPrefix("\(fork.name) \(fork.name) ")) }

            let restores = try forks.map { try ckpt.start("restore", $0.name, snapshot) }
            for restore in restores {
                let result = restore.wait()
                #expect(result.status == 0, "a restore beside others: \(result)")
            }
            for each in forks + [box] {
                #expect(try state(each) == before, "\(each.name) after restores in parallel")
            }
            #expect(try ckpt.show("start").standing.sorted() == (forks + [box]).map(\.name).sorted())
        }
    }

    @Test func savesInParallelDoNotMix() throws {
        try withCkpt { ckpt in
            let boxes = try (1...4).map { try ckpt.create("box\($0)") }
            for box in boxes { try box.say("me=\(box.name); echo $me > /root/me") }
            let saves = try boxes.map { try ckpt.start("save", $0.name, "-t", "of-\($0.name)") }
            for save in saves { #expect(save.wait().status == 0, "\(save.errors)") }
            for box in boxes {
                let fork = try ckpt.fork("of-\(box.name)")[0]
                #expect(try fork.say("echo $me $(cat /root/me)") == "\(box.name) \(box.name)")
            }
            let restores = try boxes.map { try ckpt.start("restore", $0.name) }
            let forks = try boxes.map {
                try ckpt.start("fork", "of-\($0.name)", "-n", "2", "--name", "late-\($0.name)")
            }
            for command in restores + forks { #expect(command.wait().status == 0, "\(command.errors)") }
            for info in try ckpt.sandboxes() {
                let owner = boxes.first { info.name.contains($0.name) }
                if let owner {
                    #expect(try Sandbox(ckpt: ckpt, name: info.name).say("echo $me") == owner.name)
                }
            }
        }
    }

    @Test func memoryIsThatOfEachSave() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("big")
            try box.startPython()
            try box.say(
                "put 'import os, hashlib'; ask 'big = bytearray(os.urandom(150 << 20)); print(1)'",
                deadline: 120)
            let digest = try box.say("ask 'print(hashlib.sha256(big).hexdigest())'")
            let first = try ckpt.show(try box.save())
            try box.say("ask 'big[77] = big[77] ^ 1; print(1)'")
            let second = try ckpt.show(try box.save())
            #expect(first.processBytes > 150 << 20)
            try box.restore(second.id)
            #expect(
                try box.say("ask 'big[77] = big[77] ^ 1; print(hashlib.sha256(big).hexdigest())'") == digest)
            try box.restore(first.id)
            #expect(try box.say("ask 'print(hashlib.sha256(big).hexdigest())'") == digest)
        }
    }
}
