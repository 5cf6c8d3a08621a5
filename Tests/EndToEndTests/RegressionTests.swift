import Foundation
import Glibc
import Messages
import Testing

/// Each test names the defect it keeps from coming back.
@Suite struct RegressionTests {
    /// A failed restore used up an incarnation number; the next save wrote it down, and the server after that took the
    /// live upper for an old one and removed it.
    @Test func filesSurviveAFailedRestoreASaveAndACrash() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("kept")
            _ = try box.sh("echo keep > /root/keep.txt")
            let snapshot = try box.save()
            let image = "\(ckpt.root)/snapshots/\(snapshot)/process/core-1.img"
            try #require(rename(image, "\(ckpt.root)/core-1.img") == 0)
            let refused = try ckpt("restore", "kept", snapshot)
            #expect(refused.status == 125, "\(refused)")
            try #require(rename("\(ckpt.root)/core-1.img", image) == 0)
            _ = try box.save()
            try ServerTests.crash(ckpt)
            #expect(
                try box.sh("cat /root/keep.txt; echo new > /root/new.txt; cat /root/new.txt").contains("keep")
            )
            _ = try box.save()
            try box.restore()
            #expect(try box.sh("cat /root/new.txt").contains("new"))
        }
    }

    /// A fork that failed because one of its sandboxes had been removed meanwhile ended whoever had the name by then.
    @Test func aFailedForkLeavesOthersAlone() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("seed")
            let snapshot = try box.save()
            let fork = try ckpt.start("fork", snapshot, "-n", "40", "--name", "k")
            let removed = eventually { (try? ckpt("rm", "-f", "k-40"))?.status == 0 }
            let created = try ckpt("create", "k-40").status == 0
            let forked = fork.wait()
            try #require(removed)
            if created {
                let other = Sandbox(ckpt: ckpt, name: "k-40")
                #expect(try other.exec("true").status == 0, "the new k-40 was taken down: \(forked)")
            }
        }
    }

    /// `delete --subtree` looked only at the topmost snapshot for restores under way.
    @Test func aSubtreeIsNotDeletedUnderARestore() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("base")
            let top = try box.save()
            _ = try box.sh("echo x > /root/x")
            let child = try box.save()
            _ = try ckpt("rm", "-f", "base")
            let fork = try ckpt.start("fork", child, "-n", "20", "--name", "f")
            usleep(50_000)
            let deletion = try ckpt("delete", top, "--subtree")
            let forked = fork.wait()
            if forked.status == 0 {
                #expect(deletion.status == 125, "\(deletion)")
                #expect(try Sandbox(ckpt: ckpt, name: "f-20").sh("cat /root/x").contains("x"))
            } else {
                #expect(deletion.status == 0, "neither happened: \(deletion) \(forked)")
            }
        }
    }
}
