import Foundation
import Messages
import Testing

/// A store on a filesystem that shares blocks between files: everything works there, and a save copies no data.
@Suite struct ReflinkTests {
    @Test(arguments: ["btrfs", "xfs"])
    func savesShareTheBlocksOfFiles(_ kind: String) throws {
        try LoopFilesystem.with(kind, megabytes: 400) { disk in
            try withCkpt(root: "\(disk.point)/root") { ckpt in
                let doctor = try ckpt.json(DoctorReport.self, ["doctor", "--quick"])
                let found = try #require(doctor.checks.first { $0.name == "filesystem" })
                #expect(found.status == .ok && found.detail.contains("reflink"), "\(found.detail)")

                let box = try ckpt.create("box")
                try box.say("head -c 40000000 /dev/urandom > /root/big; ln -s big /root/link")
                let content = try box.say("md5sum < /root/big")
                let before = try disk.used()
                let first = try ckpt.show(try box.save("-t", "first"))
                try box.say("echo more >> /root/big; mkdir /root/new; echo own > /root/new/file")
                let second = try box.save("-t", "second")
                let grown = try disk.used() - before
                #expect(grown < 20_000_000, "two saves of a file of 40 MB took \(grown) bytes")
                for layer in [first.layers, try ckpt.show(second).layers] {
                    #expect(try sharesBlocks("\(ckpt.root)/layers/\(layer[0])/root/root/big"))
                }

                let changed = try box.say("md5sum < /root/big")
                try box.restore("first")
                #expect(try box.say("md5sum < /root/big; ls /root | xargs") == "\(content)\nbig link")
                for fork in try ckpt.fork("second", count: 2) {
                    #expect(try fork.say("md5sum < /root/big; cat /root/new/file") == "\(changed)\nown")
                    // A copy-up shares them too, and is seen by nobody else.
                    try fork.say("echo fork >> /root/big")
                    let files = "\(ckpt.root)/sandboxes/\(fork.name)"
                    let copy = try run(["find", files, "-name", "big"]).line
                    #expect(try sharesBlocks(copy))
                }
                #expect(try disk.used() - before < 30_000_000)
                #expect(try ckpt.json(VerifyReport.self, ["verify"]).damage == [])
                try ckpt.ok("rm", "-f", "box-1", "box-2")
                try ckpt.ok("delete", "second")
                #expect(try box.say("md5sum < /root/big") == content)
            }
        }
    }
}
