import Foundation
import Messages
import Testing

/// Bad input: each is refused in one clear sentence, and what was there before is there after.
@Suite struct RefusalTests {
    @Test func unknownAndTakenNames() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("here")
            let witness = try Witness(box)
            let id = try box.save("-t", "tagged")
            expectRefusal(try ckpt("exec", "absent", "--", "true"), names: ["absent"])
            expectRefusal(try ckpt("save", "absent"), names: ["absent"])
            expectRefusal(try ckpt("restore", "absent"), names: ["absent"])
            expectRefusal(try ckpt("rm", "absent"), names: ["absent"])
            expectRefusal(try ckpt("restore", "here", "no-such-snapshot"), names: ["no-such-snapshot"])
            expectRefusal(try ckpt("fork", "no-such-snapshot"), names: ["no-such-snapshot"])
            expectRefusal(try ckpt("show", "tagged~1"), names: ["tagged~1"], hint: false)
            expectRefusal(try ckpt("create", "here"), names: ["here"])
            expectRefusal(try ckpt("save", "here", "-t", "tagged"), names: ["tagged"])
            expectRefusal(try ckpt("tag", id, "tagged2", "extra"), status: 2, names: ["extra"])
            for bad in ["", "-x", "with space", "sl/ash", "..", String(repeating: "n", count: 300), "ünï"] {
                let result = try ckpt("create", "--", bad)
                #expect(result.status == 125 || result.status == 2, "create '\(bad)': \(result)")
                #expect(result.stderr.hasPrefix("ckpt: "), "create '\(bad)': \(result)")
            }
            expectRefusal(try ckpt("create", "other", "--base", "/no/such/base"), names: ["/no/such/base"])
            expectRefusal(try ckpt("create", "other", "--base", "/etc/passwd"), names: ["/etc/passwd"])
            #expect(try ckpt.sandboxes().map(\.name) == ["here"])
            #expect(try ckpt.tree().snapshots.map(\.id) == [id])
            try witness.check("refusals")
        }
    }

    @Test func wrongUsageIsTwo() throws {
        try withCkpt { ckpt in
            expectRefusal(try ckpt("no-such-command"), status: 2, names: ["no-such-command"])
            expectRefusal(try ckpt(), status: 2, names: [])
            expectRefusal(try ckpt("save"), status: 2, names: [])
            expectRefusal(try ckpt("save", "x", "--no-such-option"), status: 2, names: ["--no-such-option"])
            expectRefusal(try ckpt("fork", "x", "-n", "many"), status: 2, names: ["many"])
            expectRefusal(
                try ckpt("exec", "x", "--timeout", "soon", "--", "true"), status: 2, names: ["soon"])
            expectRefusal(try ckpt("exec", "x"), status: 2, names: [])
        }
    }

    @Test func anAmbiguousPrefixIsNotGuessed() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("many")
            var ids: [String] = []
            // Ids are random: sooner or later two begin alike.
            while true {
                ids.append(try box.save())
                let firsts = Dictionary(grouping: ids, by: { $0.prefix(1) })
                if let (prefix, alike) = firsts.first(where: { $0.value.count > 1 }) {
                    expectRefusal(try ckpt("show", String(prefix)), names: [String(prefix)], hint: false)
                    #expect(try ckpt.show(String(alike[0].prefix(12))).id == alike[0])
                    break
                }
                try #require(ids.count < 64, "ids share no first letter: \(ids)")
            }
        }
    }

    @Test func wrongStates() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("states")
            _ = try box.save("--stop")
            #expect(try box.info().state == .stopped)
            expectRefusal(try ckpt("exec", "states", "--", "true"), names: ["states"])
            expectRefusal(try ckpt("save", "states"), names: ["states"])
            try box.restore()
            #expect(try box.exec("true").status == 0)
            expectRefusal(try ckpt("rm", "states"), names: ["states"])
            expectRefusal(try ckpt("fork", "states", "-n", "0"), status: 2, names: ["0"])
            let fresh = try ckpt.create("fresh")
            expectRefusal(try ckpt("restore", "fresh"), names: ["fresh"])
            #expect(try fresh.exec("true").status == 0)
        }
    }

    @Test(arguments: ["missing", "wrong"]) func criuIsMissingOrNotThePinnedOne(_ how: String) throws {
        let directory = "/tmp/ckpt-e2e-installation-\(how)-\(getpid())"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        // An installation like ours, of which CRIU is gone or was exchanged.
        let made = try run([
            "bash", "-c",
            """
            set -e; source=$(dirname "$(readlink -f "$2")")
            mkdir -p "$1/bin" "$1/libexec/ckpt"; cp "$2" "$1/bin/ckpt"
            for place in "$source/.." "$source" "$source/../.."; do
                [ -d "$place/libexec/ckpt" ] && { cp "$place"/libexec/ckpt/* "$1/libexec/ckpt/"; break; }
            done
            case $3 in missing) rm "$1/libexec/ckpt/criu";; wrong) echo more >> "$1/libexec/ckpt/criu";; esac
            """, "bash", directory, Ckpt.binary, how,
        ])
        try #require(made.status == 0, "\(made)")
        try withCkpt(program: "\(directory)/bin/ckpt", environment: ["CKPT_CRIU": ""]) { ckpt in
            let created = try ckpt("create", "here")
            // Without CRIU a sandbox may run; it is the save that must say what is missing.
            if created.status == 0 {
                let witness = try Witness(Sandbox(ckpt: ckpt, name: "here"))
                expectRefusal(try ckpt("save", "here"), names: ["CRIU", "libexec/ckpt/criu"])
                try witness.check("a save without CRIU")
                #expect(try ckpt.tree().snapshots.isEmpty)
            } else {
                expectRefusal(created, names: ["CRIU"])
            }
            let doctor = try ckpt("doctor")
            #expect(doctor.status != 0 && doctor.stdout.contains("criu"), "\(doctor)")
        }
    }

    @Test func interruptedSaveLeavesNothing() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("large")
            try box.startPython()
            try box.say("ask 'import os; big = os.urandom(500 << 20); print(1)'", deadline: 120)
            let witness = try Witness(box)
            let save = try ckpt.start("save", "large", "-t", "never")
            #expect(eventually(within: 30) { !ckpt.halfMade.isEmpty }, "the save never staged anything")
            save.signal(SIGINT)
            let result = save.wait()
            #expect(result.status == 130 || result.status == 125, "\(result)")
            #expect(result.stdout == "", "an interrupted save printed an id")
            #expect(eventually(within: 20) { ckpt.staging.isEmpty }, "staging keeps \(ckpt.staging)")
            try witness.check("an interrupted save")
            #expect(try ckpt.tree().snapshots.isEmpty, "an interrupted save left a snapshot")
            #expect(try box.say("ask 'print(len(big) >> 20)'") == "500")
            let id = try box.save("-t", "never", deadline: 120)
            try box.restore(id)
            #expect(try box.say("ask 'print(len(big) >> 20)'") == "500")
        }
    }
}
