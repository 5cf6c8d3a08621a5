import Foundation
import Messages
import Testing

/// What a save promises is what was chosen, for the store or for the one save.
@Suite struct DurabilityTests {
    private func isDurable(_ ckpt: Ckpt, _ id: String) -> Bool {
        FileManager.default.fileExists(atPath: "\(ckpt.root)/snapshots/\(id)/durable")
    }

    private func level(_ ckpt: Ckpt) throws -> String? {
        struct Versions: Decodable { var server: VersionInfo? }
        return try ckpt.json(Versions.self, ["version"]).server?.durability?.rawValue
    }

    @Test func levelIsChosenKeptAndShown() throws {
        try withCkpt { ckpt in
            // Nobody chose: the server that a command starts flushes later.
            let box = try ckpt.create("chosen")
            #expect(try level(ckpt) == "deferred")
            let now = try box.save("--durability", "always")
            #expect(isDurable(ckpt, now))
            try ckpt.ok("serve", "--stop")

            let server = try ckpt.start("serve", "--durability", "none")
            #expect(try eventually { try level(ckpt) == "none" })
            let never = try box.save()
            let pinned = try box.save("--durability", "snapshot")
            #expect(!isDurable(ckpt, never) && isDurable(ckpt, pinned))
            #expect(try ckpt.ok("version").stdout.contains("durability none"))
            #expect(try ckpt.ok("doctor", "--quick").stdout.contains("durability none"))
            server.signal(SIGTERM)
            #expect(server.wait().status == 0)
            #expect(isDurable(ckpt, never), "a server that ends in order flushes")

            // The next one, started by a command, has it too.
            _ = try ckpt.sandboxes()
            ckpt.rememberServer()
            #expect(try level(ckpt) == "none")
            #expect(try ckpt.json(VerifyReport.self, ["verify"]).damage == [])
            expectRefusal(
                try ckpt("save", "chosen", "--durability", "perhaps"), status: 2, names: ["deferred"])
        }
    }
}
