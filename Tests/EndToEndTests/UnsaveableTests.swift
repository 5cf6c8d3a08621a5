import Foundation
import Testing

/// What cannot be saved is refused by the name of the process and of what it holds, and harms nothing.
@Suite struct UnsaveableTests {
    private func expectUnsaveable(_ box: Sandbox, names words: [String]) throws {
        let witness = try Witness(box)
        expectRefusal(try box.ckpt("save", box.name), names: words)
        try witness.check("a refused save")
        #expect(try box.ckpt.tree().snapshots.isEmpty)
        // The culprit is unharmed; once it is gone, the same sandbox saves.
        try box.say("kill -0 $culprit && kill -9 $culprit; wait $culprit; true", "culprit")
        try box.sh("pkill -x traced; true")
        let id = try box.save()
        try box.restore(id)
        try witness.check("a save after the refusal")
    }

    @Test(.enabled(if: Machine.has("gcc"), "needs gcc")) func ioUring() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("uring", "--security-opt", "seccomp=unconfined")
            try box.compile("uring.c")
            try box.say("/root/uring > /root/out 2>&1 & culprit=$!", "culprit")
            try box.waitFor("test -s /root/out")
            // A sandbox that forbids io_uring altogether has nothing to refuse; programs fall back.
            if try box.sh("cat /root/out") == "ready" {
                try expectUnsaveable(box, names: ["uring", "io_uring", try box.sh("pgrep -x uring")])
            } else {
                #expect(try box.sh("cat /root/out").contains("io_uring_setup: "))
                _ = try box.save()
            }
        }
    }

    @Test func nestedNamespaces() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("nested", "--security-opt", "seccomp=unconfined")
            try box.say(
                "unshare --user --map-root-user --pid --fork sleep 1000 & culprit=$!", "culprit")
            try box.waitFor("pgrep -x sleep")
            // unshare(1) ignores SIGTERM while its child lives; the child is what to end.
            try box.say("while ! culprit=$(pgrep -x sleep); do sleep 0.02; done", "culprit")
            try expectUnsaveable(box, names: ["unshare", "namespace"])
        }
    }

    @Test(.enabled(if: Machine.has("gcc"), "needs gcc")) func tracedProcess() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("traced")
            try box.compile("tracer.c")
            try box.say("/root/tracer > /root/out 2>&1 & culprit=$!", "culprit")
            try box.waitFor("grep -q ready /root/out")
            try expectUnsaveable(box, names: ["traced", "tracer"])
        }
    }

    @Test(.enabled(if: Machine.has("mkfs.ext4", "losetup"), "needs mkfs.ext4 and losetup")) func fullDisk()
        throws
    {
        let image = "/tmp/ckpt-e2e-disk-\(getpid())", root = image + ".d"
        let mounted = try run([
            "bash", "-ec",
            "truncate -s 160M \"$1\"; mkfs.ext4 -qF \"$1\"; mkdir \"$2\"; mount -o loop \"$1\" \"$2\"",
            "bash", image, root,
        ])
        try #require(mounted.status == 0, "\(mounted)")
        defer {
            let unmounted = try? run(["umount", root])
            #expect(
                unmounted?.status == 0, "the small disk is still in use: \(String(describing: unmounted))")
            rmdir(root)
            unlink(image)
        }
        try withCkpt(root: root) { ckpt in
            let box = try ckpt.create("full")
            try box.startPython()
            try box.say("ask 'import os; big = os.urandom(300 << 20); print(1)'", deadline: 120)
            let witness = try Witness(box)
            let free = try run(["stat", "-f", "-c", "%a", root]).line
            expectRefusal(
                try ckpt("save", "full", deadline: 120), names: ["No space left on device", "ckpt gc"])
            try witness.check("a save on a full disk")
            #expect(try ckpt.tree().snapshots.isEmpty)
            let freeAfter = try run(["stat", "-f", "-c", "%a", root]).line
            #expect(
                (Int(free) ?? 0) - (Int(freeAfter) ?? 0) < 2000, "blocks were lost: \(free) → \(freeAfter)")
            try box.say("ask 'del big; print(2)'")
            let id = try box.save()
            try box.restore(id)
            try witness.check("a save once there was room")
        }
    }
}
