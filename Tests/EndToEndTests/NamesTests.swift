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

    /// Its root can name the machine as it likes and change settings that no other sandbox's can.
    @Test func aPrivilegedRootsNamesComeBackAsTheyWere() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("master", "--privileged")
            let name = { (text: String) in
                try box.say("python3 -c 'import socket; socket.sethostname(b\"\(text)\")'")
            }
            _ = try name("odd\\xffname")
            try box.say("mount -t proc proc /mnt && echo 12345 > /mnt/sys/kernel/msgmax; umount /mnt")
            let state = "hostname | od -An -tx1; cat /proc/sys/kernel/msgmax"
            let before = try box.say(state)
            #expect(before.contains("ff") && before.hasSuffix("12345"), "\(before)")
            for _ in 1...2 {
                let id = try box.save()
                _ = try name("other")
                try box.restore(id)
                #expect(try box.say(state) == before)
            }
        }
    }
}
