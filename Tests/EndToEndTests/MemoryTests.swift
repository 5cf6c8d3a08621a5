import Foundation
import Messages
import Testing

/// A Python process that holds much memory and changes little of it between saves.
private struct Dirtying {
    let box: Sandbox

    init(_ ckpt: Ckpt, _ name: String, megabytes: Int) throws {
        box = try ckpt.create(name)
        try box.install("dirtying.py")
        try box.say(
            """
            coproc PY { exec /usr/bin/python3 -iqu /root/dirtying.py \(megabytes) 2>/root/py.err; }
            ask() { printf '%s\\n' "$1" >&"${PY[1]}"; IFS= read -r -t 60 got <&"${PY[0]}" && echo "$got"; }
            """)
    }
    init(_ box: Sandbox) { self.box = box }

    func digest() throws -> String { try box.say("ask 'print(digest())'") }
    func dirty(share: Int = 100) throws -> String { try box.say("ask 'dirty(\(share)); print(digest())'") }
}

private func size(_ ckpt: Ckpt) throws -> Int {
    let text = try run(["du", "-sc", "--block-size=1", "\(ckpt.root)/snapshots", "\(ckpt.root)/layers"])
        .stdout
    let total = text.split(separator: "\n").last?.split(separator: "\t").first
    return try #require(total.flatMap { Int($0) })
}

private func depth(_ ckpt: Ckpt, _ id: String) -> Int {
    var (path, depth) = ("\(ckpt.root)/snapshots/\(id)/process/parent", 0)
    while FileManager.default.fileExists(atPath: path) { (path, depth) = (path + "/parent", depth + 1) }
    return depth
}

/// Memory is stored once, whoever came from whom.
@Suite struct MemoryTests {
    @Test func rowsOfSavesTakeWhatChangedAndAllComeBack() throws {
        try withCkpt { ckpt in
            let python = try Dirtying(ckpt, "row", megabytes: 64)
            var digests = [try python.digest()]
            var ids = [try python.box.save()]
            var before = try size(ckpt)
            #expect(before > 64 << 20)
            for _ in 1...8 {
                digests.append(try python.dirty())
                ids.append(try python.box.save())
                let now = try size(ckpt)
                // Python's own pages and the small images are a megabyte whatever the size.
                #expect(now - before < (64 << 20) / 100 * 15 / 10 + 1 << 20, "\(now - before)")
                before = now
                #expect(depth(ckpt, ids.last!) >= 1)
            }
            let memory = try #require(try ckpt.show(ids[8]).memory)
            #expect(memory.totalBytes == memory.zeroBytes + memory.inheritedBytes + memory.storedBytes)
            #expect(memory.inheritedBytes > 63 << 20 && memory.storedBytes < 3 << 20)

            let usage = try ckpt.json(UsageReport.self, ["du"])
            #expect(usage.snapshots.map(\.id) == ids)
            for entry in usage.snapshots {
                #expect(entry.process.logicalBytes > 64 << 20 && entry.process.ownBytes < 4 << 20)
            }
            #expect(usage.snapshots.allSatisfy { $0.process.sharedBytes > 60 << 20 })
            #expect(usage.processBytes < 90 << 20)
            #expect(try ckpt.ok("du", ids[8]).lines.count == 3)
            #expect(try ckpt.ok("tree").stdout.contains("shared"))

            // In any order, and a fork's memory is its own.
            for index in [4, 0, 8, 7, 2] {
                try python.box.restore(ids[index])
                #expect(try python.digest() == digests[index], "snapshot \(index)")
            }
            let fork = Dirtying(try ckpt.fork(ids[6])[0])
            #expect(try fork.digest() == digests[6])
            let changed = try fork.dirty()
            let branch = try fork.box.save()
            #expect(try ckpt.show(branch).memory!.storedBytes < 3 << 20)

            // What lies in between goes; who came from it stays whole.
            for index in [1, 3, 0, 5, 6] { try ckpt.ok("delete", "--keep-children", ids[index]) }
            #expect(try ckpt.show(ids[7]).parent == ids[4] && ckpt.show(ids[2]).parent == nil)
            #expect(try ckpt.show(branch).parent == ids[4])
            for index in [8, 2, 4] {
                try ckpt.ok("restore", "row", ids[index], "--verify")
                #expect(try python.digest() == digests[index], "snapshot \(index) after deletions")
            }
            #expect(try Dirtying(ckpt.fork(branch)[0]).digest() == changed)
            #expect(try ckpt.json(VerifyReport.self, ["verify"]).damage == [])
        }
    }

    /// CRIU asks anew whether the kernel tells what changed, hears that it does not, and refuses before anything stops.
    @Test func memoryThatCannotBeLeftInItsProcessIsWritten() throws {
        try withCkpt { ckpt in
            let python = try Dirtying(ckpt, "whole", megabytes: 24)
            var digests = [try python.digest()]
            var ids = [try python.box.save()]
            let trouble = {
                try String(contentsOfFile: "\(ckpt.root)/server.log", encoding: .utf8)
                    .contains("saved once more, all of it by CRIU")
            }
            for isLeft in [true, false] {
                if !isLeft {
                    ckpt.rememberServer()
                    let server = "\(try #require(ckpt.serverPID))"
                    let undone = try run(["nsenter", "-t", server, "-m", "umount", "/run/criu.kdat"])
                    // Where the kernel itself tells what changed nothing was put there.
                    if undone.status != 0 { return }
                }
                digests.append(try python.dirty())
                ids.append(try python.box.save("--engine", "criu"))
                #expect(try trouble() != isLeft)
                #expect(try ckpt.show(ids.last!).memory!.storedBytes < 3 << 20)
            }
            for (id, digest) in zip(ids, digests).reversed() {
                try python.box.restore(id)
                #expect(try python.digest() == digest)
            }
        }
    }

    /// The kernel notes them within a mapping (MADV_GUARD_INSTALL), CRIU as mappings over it.
    @Test func guardPagesWithinAMappingAreNoMappings() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("guarded")
            try box.startPython()
            try box.say(
                "put 'import mmap, ctypes' 'm = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)' "
                    + "'_ = m.write(b\"a\" * (1 << 20))' 'p = ctypes.addressof(ctypes.c_char.from_buffer(m))' "
                    + "'_ = ctypes.CDLL(None).madvise(ctypes.c_void_p(p + 8192), 4096, 102)'")
            for _ in 1...2 {
                let id = try box.save()
                try ckpt.ok("inspect", id)
                try ckpt.ok("restore", "guarded", id, "--memory", "lazy")
                #expect(
                    try box.say("ask 'print(m[:8192] + m[12288:] == b\"a\" * ((1 << 20) - 4096))'") == "True")
                #expect(try box.say("ask 'm[100] = 97; print(1)'") == "1")
            }
        }
    }

    @Test func zerosAreDroppedAndComeBackAsZeros() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("zeros")
            try box.startPython()
            try box.say(
                "put 'import mmap' 'a = bytearray(20 << 20); b = bytearray(b\"x\") * (4 << 20)' "
                    + "'for i in range(0, len(a), 4096): a[i] = 1' '' 'for i in range(0, len(a), 4096): a[i] = 0' '' "
                    + "'s = mmap.mmap(-1, 8 << 20)' '_ = s.write(bytes(4 << 20)), s.write(b\"y\" * (4 << 20))'"
            )
            let check =
                "ask 'print(any(a), b == b\"x\" * (4 << 20), s[:4 << 20].count(0), s[4 << 20:].count(b\"y\"))'"
            let state = try box.say(check)
            #expect(state == "False True 4194304 4194304")
            let id = try box.save()
            let memory = try #require(try ckpt.show(id).memory)
            #expect(memory.zeroBytes > 23 << 20 && memory.storedBytes < 20 << 20, "\(memory)")
            let child = try box.save()
            #expect(try ckpt.show(child).memory!.storedBytes < 1 << 20)
            for snapshot in [child, id] {
                try box.restore(snapshot)
                #expect(try box.say(check) == state)
            }
            // The segment has another number now, and is found all the same.
            let after = try box.save()
            #expect(try ckpt.show(after).memory!.storedBytes < 2 << 20)
            try ckpt.ok("delete", "--keep-children", id)
            try box.restore(after)
            #expect(try box.say(check) == state)
        }
    }

    @Test func serverKilledDuringASaveLeavesTheStoreWhole() throws {
        try withCkpt { ckpt in
            let python = try Dirtying(ckpt, "killed", megabytes: 48)
            let digest = try python.digest()
            let first = try python.box.save()
            for delay in [10, 40, 70, 100, 130] {
                _ = try python.dirty()
                let save = try ckpt.start("save", "killed")
                usleep(UInt32(delay) * 1000)
                ckpt.rememberServer()
                if let pid = ckpt.serverPID { kill(pid, SIGKILL) }
                _ = try save.wait()
                let report = try ckpt.json(VerifyReport.self, ["verify"])
                #expect(report.damage == [], "after \(delay) ms")
                // A server that is killed in the frozen window leaves a tree that stands still; it is rolled back.
                for id in report.snapshots.suffix(1) + [first] { try python.box.restore(id) }
                #expect(try python.digest() == digest)
            }
            #expect(eventually { ckpt.staging.isEmpty })
        }
    }
}
