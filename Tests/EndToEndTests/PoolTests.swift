import Foundation
import Glibc
import Messages
import Testing

/// A store in a filesystem of its own, which the server makes, mounts for itself and grows.
@Suite struct PoolTests {
    private func devices(of ckpt: Ckpt) throws -> [String] {
        try run(["losetup", "--noheadings", "-O", "NAME", "-j", "\(ckpt.root)/pool.img"]).lines
            .filter { !$0.isEmpty }
    }

    /// A path of the pool, as its server sees it.
    private func inside(_ ckpt: Ckpt, _ path: String) throws -> String {
        "/proc/\(try #require(ckpt.serverPID))/root\(ckpt.root)/pool/\(path)"
    }

    private func check(_ name: String, _ ckpt: Ckpt) throws -> DoctorCheck {
        let report = try ckpt.json(DoctorReport.self, ["doctor", "--quick"])
        return try #require(report.checks.first { $0.name == name }, "\(report.checks.map(\.name))")
    }

    @Test func poolOutlivesItsServersAndGrows() throws {
        try withCkpt(environment: ["CKPT_STORE_SIZE": "600m"]) { ckpt in
            let box = try ckpt.create("box")
            #expect(try check("filesystem", ckpt).detail.contains("reflink"))
            #expect(try check("pool", ckpt).detail.contains("600 MiB"))
            try box.say("n=1; head -c 30000000 /dev/urandom > /root/big; md5sum < /root/big > /root/sum")
            let first = try ckpt.show(try box.save())
            #expect(try sharesBlocks(inside(ckpt, "layers/\(first.layers[0])/root/root/big")))
            #expect(try devices(of: ckpt).count == 1)
            let elsewhere = try run(["ls", "\(ckpt.root)/pool"])
            #expect(elsewhere.stdout == "", "the pool is mounted where others see it")

            // Killed, with a sandbox on the pool: the next server takes the same device.
            kill(try #require(ckpt.serverPID), SIGKILL)
            #expect(eventually { ckpt.serverPID == nil })
            #expect(try box.say("echo $n; md5sum < /root/big | cmp - /root/sum && echo same") == "1\nsame")
            ckpt.rememberServer()
            #expect(try devices(of: ckpt).count == 1)

            try ckpt.ok("serve", "--upgrade", "--store-size", "900m")
            ckpt.rememberServer()
            #expect(try check("pool", ckpt).detail.contains("900 MiB"))
            var room = statvfs()
            #expect(
                try statvfs(inside(ckpt, ""), &room) == 0 && Int(room.f_blocks * room.f_frsize) > 800 << 20)
            #expect(try devices(of: ckpt).count == 1)

            // What a save writes is what changed: without this there may be room for it.
            try box.say("held=$(head -c 8000000 /dev/urandom | base64 -w0)")
            let fill = try box.exec("dd", "if=/dev/urandom", "of=/root/fill", "bs=1M")
            #expect(fill.status == 1 && fill.stderr.contains("No space left"), "\(fill)")
            let full = try ckpt("save", "box", "--json")
            #expect(full.status == 125 && full.stderr.contains("no_space"), "\(full)")
            try box.say("rm /root/fill")
            let second = try box.save()
            try box.restore(first.id)
            #expect(try box.say("echo $n; ls /root | xargs") == "1\nbig sum")
            #expect(try ckpt.show(second).parent == first.id)
            #expect(try ckpt.json(VerifyReport.self, ["verify"]).damage == [])

            // In order, and with nobody on it: all of it goes, and all of it comes back, with no option.
            try ckpt.ok("rm", "-f", "box")
            try ckpt.ok("serve", "--stop")
            #expect(eventually { (try? devices(of: ckpt).isEmpty) == true }, "a loop device is left")
            let plain = try run([ckpt.program, "ps", "--root", ckpt.root])
            #expect(plain.status == 0, "\(plain)")
            ckpt.rememberServer()
            #expect(
                try ckpt.fork(first.id)[0].say("md5sum < /root/big | cmp - /root/sum && echo same") == "same")
        }
    }

    @Test func whatKeepsAPoolFromBeingMadeIsSaid() throws {
        try withCkpt { ckpt in
            func refused(_ words: String..., names: String, as code: String, without hidden: String? = nil)
                throws
            {
                let hide = hidden.map { "for f in \($0); do mount --bind /dev/null $f; done; " } ?? ""
                let result = try run(
                    ["unshare", "-m", "sh", "-c", "\(hide)exec \"$@\"", "sh", ckpt.program, "serve"] + words
                        + ["--json"], environment: ["CKPT_ROOT": ckpt.root])
                #expect(result.status == 125 || result.status == 2, "\(result)")
                #expect(result.stderr.contains(names) && result.stderr.contains(code), "\(result)")
                #expect(!FileManager.default.fileExists(atPath: "\(ckpt.root)/pool.img.new"))
            }
            try refused("--store-size", "100m", names: "too small", as: "bad_value")
            try refused("--store-size", "lots", names: "--store-size", as: "a size")
            try refused(
                "--store-size", "600m", names: "xfsprogs", as: "not_installed",
                without: "/usr/sbin/mkfs.xfs /usr/sbin/mkfs.btrfs")
            #expect(!FileManager.default.fileExists(atPath: "\(ckpt.root)/pool.img"))
            try refused("--store-size", "600m", names: "loop", as: "internal", without: "/dev/loop-control")
            try FileManager.default.removeItem(atPath: "\(ckpt.root)/pool.img")
            try ckpt.ok("ps")
            ckpt.rememberServer()
            try ckpt.ok("serve", "--stop")
            try refused("--store-size", "600m", names: "has a store already", as: "wrong_state")
        }
    }
}
