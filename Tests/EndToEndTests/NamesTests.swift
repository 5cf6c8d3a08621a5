import Foundation
import Testing

/// The namespaces of names and clocks, which CRIU dumps only where they hold more than ckpt knows to write.
@Suite struct NamesTests {
    @Test func objectsOfSystemVAreSavedByCriuAndAllElseWithoutIt() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("names", "--hostname", "inner")
            let again = {
                try String(contentsOfFile: "\(ckpt.root)/server.log", encoding: .utf8)
                    .components(separatedBy: "saved once more").count - 1
            }
            let settings = "cat /proc/sys/kernel/{sem,msgmax,msgmni,shmmax,shmall,shm_rmid_forced}; hostname"
            let fresh = try box.say(settings)
            #expect(fresh.hasSuffix("inner"))
            let empty = try box.save()
            #expect(try again() == 0)

            // Queues too: a message that waits is nobody's memory.
            try box.say("ipcmk -M 8192 -p 600; ipcmk -S 3; ipcmk -Q")
            let objects = try box.say("ipcs -a")
            #expect(objects.contains("8192"))
            let full = try box.save()
            #expect(try again() == 1)
            let next = try box.save()
            #expect(try again() == 1, "what was found once is expected from then on")

            for (id, expected) in [(empty, false), (full, true), (next, true), (empty, false)] {
                try box.restore(id)
                #expect(try (box.say("ipcs -a") == objects) == expected)
                #expect(try box.say("ipcs -m").contains("8192") == expected)
                #expect(try box.say(settings) == fresh)
            }
            let fork = try ckpt.fork(full)[0]
            #expect(try fork.say("ipcs -a") == objects)
        }
    }
}
