import Foundation
import Messages
import Testing

/// Snapshots that are stopped copies of the processes.
@Suite struct TwinTests {
    private static let twins = ["CKPT_ENGINE": "twin"]

    /// Saves, and expects a twin.
    private func twin(_ box: Sandbox, sourceLocation: SourceLocation = #_sourceLocation) throws -> String {
        let info = try box.ckpt.json(SnapshotInfo.self, ["save", box.name])
        #expect(info.engine == .twin, "\(info.engineReason ?? "")", sourceLocation: sourceLocation)
        #expect(info.durable == false, sourceLocation: sourceLocation)
        return info.id
    }

    /// Everything that bash can tell of itself. Whom it makes it makes with SIGTERM caught, for a moment.
    private func state(_ box: Sandbox) throws -> String {
        try box.say(
            """
            echo $x $$ $PWD; f; nice; cat /root/d/*; ls -lA --time-style=full-iso /root /root/d; jobs; ulimit -a; umask; trap
            cat /proc/$$/fdinfo/{3,4,5} | grep -E 'pos|flags'; readlink /proc/$$/fd/*; cat <&5
            exec 5<&-; exec 5<>/root/d/read; (sleep 0.05; grep -E '^(SigIgn|SigCgt|Cap|Seccomp|NoNew|PPid|Uid|Groups|Cpus_a)' /proc/$$/status)
            """)
    }

    @Test func aSessionGoesBackAHundredTimes() throws {
        try withCkpt(environment: Self.twins) { ckpt in
            let box = try ckpt.create("idle")
            try box.say(
                """
                mkdir /root/d; cd /root/d; x=1; f() { echo "f:$x"; }; trap 'echo usr' USR1; umask 027
                for n in kept gone appended; do echo original > $n; done; echo unread > read
                exec 3<>kept 4>>appended 5<>read; read -n 3 <&3; renice -n 5 $$ > /dev/null
                """)
            let before = try state(box)
            let id = try twin(box)
            let wreck = """
                x=2; cd /; f() { echo other; }; umask 0; trap - USR1; exec 6</etc/passwd; echo much >&3; echo more >&4
                rm /root/d/gone; mv /root/d/read /root/moved; mkdir /root/new; ln -s a /root/new/b; rm /etc/hostname
                echo x >> /etc/passwd; chmod 700 /root/d; head -c 200000 /dev/urandom > /root/d/kept
                """
            let passwd = try box.sh("md5sum /etc/passwd")
            for round in 1...100 {
                if round % 10 == 1 {
                    try box.say(wreck)
                } else {
                    try box.say("x=\(round); cd /tmp; echo $x > f")
                }
                try box.restore(round % 2 == 0 ? id : nil)
                if round % 10 > 2 { continue }
                let told = try state(box)
                #expect(told == before, "round \(round): \(told)\n\(before)")
                #expect(
                    try box.sh("md5sum /etc/passwd; cat /etc/hostname | wc -l; ls /tmp") == "\(passwd)\n1")
                // PID 1, bash, their copies, and what asks.
                let processes = try box.sh("a=(/proc/[0-9]*); echo ${#a[@]}; ls /proc/1/fd | wc -l")
                #expect(processes.hasPrefix("5\n"), "round \(round): \(processes)")
            }
            #expect(try box.info().processes == 2)
            #expect(try box.info().snapshot == id)
        }
    }

    @Test func everyKindOfFileComesBack() throws {
        try withCkpt(environment: Self.twins) { ckpt in
            let box = try ckpt.create("files")
            try box.install("fidelity.py")
            let python = "/usr/bin/python3 /root/fidelity.py"
            func manifest() throws -> [String] {
                try box.exec(
                    "/usr/bin/python3", "/root/fidelity.py", "manifest", "/fidelity", "/etc", "/root",
                    deadline: 120
                ).lines.filter { !$0.contains("__pycache__") }
            }
            try box.say("here=1")
            try box.sh("\(python) make /etc/debian_version /etc/skel")
            let first = try manifest()
            #expect(first.count > 380)
            let firstID = try twin(box)
            try box.sh("\(python) again; rm -rf /etc/skel; mkdir /etc/skel; echo twice > /etc/skel/twice")
            let second = try manifest()
            #expect(second != first)
            let secondID = try twin(box)
            for (id, expected) in [
                (secondID, second), (firstID, first), (firstID, first), (secondID, second),
            ] {
                try box.sh("\(python) wreck; rm -rf /etc/skel; echo back > /etc/debian_version")
                try box.restore(id)
                let now = try manifest()
                let differing = Set(now).symmetricDifference(expected).prefix(8).joined(separator: "\n")
                #expect(now.sorted() == expected.sorted(), "\(differing)")
            }
            #expect(try box.sh("stat -c %b /fidelity/sparse/file").count < 5, "holes were filled")
        }
    }

    @Test func aJobGoesBackAndForth() throws {
        try withCkpt(environment: Self.twins) { ckpt in
            let box = try ckpt.create("job")
            try box.install("counting.py")
            try ckpt.ok("exec", "-d", "--cwd", "/root", "job", "--", "/usr/bin/python3", "/root/counting.py")
            func ask(_ what: String) throws -> String {
                try box.sh(
                    "echo \(what) > ask.tmp; mv ask.tmp /root/ask; until [ -e /root/answer ]; do sleep .005; done; cat /root/answer; rm /root/answer"
                )
            }
            var states: [(id: String, state: String)] = []
            for _ in 1...3 {
                let state = try ask("state")
                states.append((try twin(box), state))
                #expect(try ask("change") == "changed")
            }
            #expect(Set(states.map(\.state)).count == 3)
            for step in [0, 2, 1, 1, 0, 2] {
                try box.restore(states[step].id)
                #expect(try ask("state") == states[step].state, "back to \(step)")
                #expect(try ask("change") == "changed")
            }
            #expect(try box.sh("ls /root | grep -c ^d") == "3")
        }
    }

    @Test func sessionsThatCameAndWentAreAsTheyWere() throws {
        try withCkpt(environment: Self.twins) { ckpt in
            let box = try ckpt.create("many")
            try box.say("x=first")
            try box.say("x=second", "second")
            let id = try twin(box)
            for round in 1...4 {
                try box.say("x=third", "third")
                #expect(try box.session("exit 3", "second").status == 3)
                #expect(try box.session("kill -9 $$").status == 137)
                try ckpt.ok("exec", "-d", "many", "--", "sleep", "1000")
                try box.restore(id)
                #expect(try box.say("echo $x") == "first", "round \(round)")
                #expect(try box.say("echo $x", "second") == "second", "round \(round)")
                #expect(try box.info().sessions.sorted() == ["main", "second"])
                #expect(try box.sh("pgrep -c sleep; true") == "0")
            }
        }
    }

    @Test func severalProcessesGoBackTogether() throws {
        try withCkpt(environment: Self.twins) { ckpt in
            let box = try ckpt.create("several")
            for number in 1...5 { try box.say("x=\(number)", "s\(number)") }
            try ckpt.ok("exec", "-d", "several", "--", "sleep", "1000")
            let before = try box.sh("pgrep -l '' | sort; ipcs -q | wc -l")
            let id = try twin(box)
            for round in 1...3 {
                for number in 1...5 where number != round {
                    try box.say("x=0; cd /tmp; ipcmk -Q", "s\(number)")
                }
                try box.sh("pkill sleep")
                try box.restore(id)
                for number in 1...5 { #expect(try box.say("echo $x$PWD", "s\(number)") == "\(number)/root") }
                let now = try box.sh("pgrep -l '' | sort; ipcs -q | wc -l").split(separator: "\n")
                // The copies are there beside them, and the shell that asks has a later pid.
                for line in before.split(separator: "\n")
                where !["bash", "sort"].contains(where: line.hasSuffix) {
                    #expect(now.contains(line), "round \(round): \(line)")
                }
            }
        }
    }

    @Test func memoryThatAForkHasNotIsRefused() throws {
        try withCkpt(environment: Self.twins) { ckpt in
            let box = try ckpt.create("memory")
            let cases = [
                ("MAP_PRIVATE", "madvise(18)", "a fork empties"),
                ("MAP_PRIVATE", "madvise(10)", "a fork leaves out"),
                ("MAP_SHARED", "flush()", "shares and writes to"), ("MAP_PRIVATE", "flush()", ""),
            ]
            for (flag, call, why) in cases {
                let script = """
                    import mmap, time; m = mmap.mmap(-1, 65536, flags=mmap.\(flag) | mmap.MAP_ANONYMOUS)
                    m[:] = b'x' * 65536; m.\(call); open('/root/ready', 'w').close(); time.sleep(1000)
                    """
                try ckpt.ok("exec", "-d", "memory", "--", "/usr/bin/python3", "-c", script)
                try box.waitFor("rm /root/ready")
                let info = try ckpt.json(SnapshotInfo.self, ["save", "memory"])
                #expect((info.engine == .twin) == why.isEmpty, "\(call): \(info.engineReason ?? "a twin")")
                #expect(info.engineReason?.contains(why) ?? true, "\(call): \(info.engineReason ?? "")")
                // The copy of one has its name.
                if why.isEmpty { continue }
                try box.sh("pkill python3")
                try box.waitFor("! pgrep python3")
            }
            let admin = try ckpt.create("admin", "--cap-add", "SYS_ADMIN")
            #expect(try ckpt.json(SnapshotInfo.self, ["save", admin.name]).engineReason == "it may mount")
        }
    }

    @Test func whatCannotBeATwinIsMadeByCRIUInTheSameCall() throws {
        try withCkpt(environment: Self.twins) { ckpt in
            let box = try ckpt.create("other")
            func refused(_ text: String, _ why: String, undo: String, _ options: String...) throws {
                try box.say(text)
                let info = try ckpt.json(SnapshotInfo.self, ["save", "other"] + options)
                #expect(info.engine == .criu && info.durable != false, "\(text)")
                #expect(info.engineReason?.contains(why) == true, "\(text): \(info.engineReason ?? "a twin")")
                try box.say("x=lost")
                try box.restore(info.id)
                #expect(try box.say("echo $x") == "kept", "\(text)")
                try box.say(undo)
            }
            try refused("x=kept; sleep 1000 &", "has children", undo: "kill %1; wait")
            try refused("exec 7<>/dev/ptmx", "ptmx open (descriptor 7)", undo: "exec 7<&-")
            try refused("mkfifo /root/p; exec 7<>/root/p", "/root/p open", undo: "exec 7<&-")
            try refused("exec 7< <(sleep 1000)", "has children", undo: "exec 7<&-; kill $!; wait")
            try refused("exec 7>/root/l; flock 7", "lock", undo: "exec 7>&-")
            try refused(":", "a tag", undo: ":", "--tag", "named")
            try refused(":", "disk", undo: ":", "--durability", "none")
            let last = try twin(box)
            let reason = try ckpt.ok("save", "--tag", "again", "other").stderr
            #expect(reason.contains("made by CRIU, not as a twin") && !reason.contains("ended"))
            #expect(try ckpt.show(last).durable == nil, "it had been written down")
            let stopped = try ckpt.json(SnapshotInfo.self, ["save", "--stop", "other"])
            #expect(stopped.engine == .criu)
        }
    }

    @Test func twinsAreToldAndGoWithWhatTheyAreTwinsOf() throws {
        try withCkpt(environment: Self.twins) { ckpt in
            let box = try ckpt.create("told")
            // What has no name cannot be written down.
            try box.say("x=1; exec 7>/root/gone; rm /root/gone")
            let first = try twin(box)
            let second = try twin(box)
            #expect(try ckpt.show(second).parent == first && ckpt.show("told").id == second)
            #expect(try ckpt.show(first).parent == nil)
            #expect(try ckpt.show(first).children == [second])
            let drawn = try ckpt.ok("tree").stdout
            #expect(
                drawn.contains("\(first.prefix(8)) twin") && drawn.contains("\(second.prefix(8)) ● told twin")
            )
            #expect(try ckpt.show(second).durable == false)
            #expect(
                try eventually {
                    try ckpt.ok("show", second).stdout.contains(
                        "in memory alone, for it cannot be written down")
                })
            #expect(try ckpt.tree().snapshots.map(\.id) == [first, second])
            for arguments in [
                ["fork", first], ["fork", "told"], ["tag", first, "named"], ["inspect", second],
            ] {
                let result = try ckpt.call(arguments)
                #expect(
                    result.status == 125 && result.stderr.contains("is a twin")
                        && result.stderr.contains("(fd 7)"), "\(arguments): \(result)")
            }
            #expect(try ckpt.call(["delete", second]).stderr.contains("stands on"))
            try ckpt.ok("delete", first)
            #expect(try ckpt.show(second).parent == nil)
            #expect(try box.sh("a=(/proc/[0-9]*); echo ${#a[@]}") == "5")
            let saved = try ckpt.json(SnapshotInfo.self, ["save", "--engine", "criu", "told"])
            #expect(saved.engine == nil && saved.durable == nil)
            #expect(saved.warnings?.contains { $0.contains("1 of it was ended") } == true)
            #expect(try ckpt.call(["show", second]).status == 125)
            _ = try twin(box)
            try box.say("x=2")
            try box.restore(saved.id)
            #expect(try box.say("echo $x") == "1")
            #expect(try box.sh("a=(/proc/[0-9]*); echo ${#a[@]}") == "3")
        }
    }

    /// Where the sandbox was saved before, a twin is a snapshot like any other a moment later.
    @Test func twinsAreWrittenDownInTheBackground() throws {
        try withCkpt(environment: Self.twins) { ckpt in
            let box = try ckpt.create("written")
            try box.say(
                "mkdir /root/d; cd /root/d; x=1; f() { echo f; }; for n in kept gone read; do echo $n > $n; done"
            )
            try box.say(
                "ln kept linked; ln -s kept symbolic; mkfifo fifo; truncate -s 1M hole; setfattr -n user.a -v b kept"
            )
            let base = try box.save("--engine", "criu")
            var saved: [(id: String, state: String, files: String)] = []
            let files =
                "cd /; find /root -printf '%p %y %m %s %T@ %l\\n' | sort; [ /root/d/kept -ef /root/d/linked ]; getfattr -d /root/d/*; cat /root/d/{kept,read}"
            for round in 1...4 {
                try box.say(
                    """
                    x=\(round); exec 3<read 4>>log; read -n \(round) <&3; echo \(round) | tee new\(round) >&4; umask 02\(round)
                    rm -f gone /etc/hostname; trap 'echo \(round)' USR1; cd /root/d; y=$(seq 1 \(round)9999); chmod 60\(round) kept
                    """)
                let id = try twin(box)
                saved.append((id, try box.say(Self.own), try box.sh(files)))
                // What comes after it is not in it.
                try box.say(
                    "x=after; echo after >> kept; rm new\(round); echo after >&4; cd /; exec 5</etc/passwd")
                try box.restore(id)
                #expect(try box.say(Self.own) == saved[round - 1].state)
            }
            try ckpt.ok("tag", saved[1].id, "second")
            for (id, _, _) in saved {
                #expect(try eventually(within: 20) { try ckpt.show(id).durable == nil })
            }
            #expect(try ckpt.tree().snapshots.map(\.id) == [base] + saved.map(\.id))
            #expect(try ckpt.show("second").parent == saved[0].id && ckpt.show(saved[0].id).parent == base)
            try ckpt.ok("verify")
            for (id, state, tree) in saved {
                let fork = try ckpt.fork(id)[0]
                let there = try fork.sh(files)
                #expect(there == tree, "\(there)\n\(tree)")
                let told = try fork.say(Self.own)
                #expect(told == state, "\(told)\n\(state)")
                try ckpt.ok("rm", "-f", fork.name)
                _ = try ckpt.json(RestoreResult.self, ["restore", "--engine", "criu", box.name, id])
                let again = try box.say(Self.own)
                #expect(again == state, "\(again)\n\(state)")
                let here = try box.sh(files)
                #expect(here == tree, "\(here)\n\(tree)")
            }
            // Whoever ends the copies waits until they are written down.
            let late = try twin(box)
            try ckpt.ok("reset", box.name)
            #expect(try ckpt.show(late).durable == nil)
            let other = try ckpt.fork(late)[0]
            #expect(try other.say("echo $x") == "4")
            let last = try twin(other)
            try ckpt.ok("rm", "-f", other.name)
            try box.restore(last)
            #expect(try box.say("echo $x") == "4")
            try box.restore(saved[3].id)
            // The processes of the last one are followed up in turn.
            let next = try ckpt.json(SnapshotInfo.self, ["save", "--engine", "criu", box.name])
            #expect(next.parent == saved[3].id)
            try ckpt.ok("delete", saved[0].id, "--keep-children")
            // Written down already, just now, or not yet: who goes leaves no gap.
            var ids: [String] = []
            for round in 5...9 {
                try box.say("x=\(round); y=$(seq 1 \(round)9999); echo \(round) > new\(round)")
                ids.append(try twin(box))
                if ids.count > 2 { try ckpt.ok("delete", ids.remove(at: 1), "--keep-children") }
            }
            let offspring = try ckpt.fork(ids[1])[0]
            let its = try offspring.say("echo $x ${#y}; cat new*")
            #expect(its == "9 588887\n1\n2\n3\n4\n5\n6\n7\n8\n9")
            #expect(try ckpt.show(ids[1]).parent == ids[0] && ckpt.show(ids[0]).parent == next.id)
            try ckpt.ok("verify")
        }
    }

    /// A sandbox that was never saved, of several kinds.
    @Test func theFirstTwinIsWrittenDownAsWell() throws {
        try withCkpt(environment: Self.twins) { ckpt in
            let kinds = [
                [], ["--hostname", "odd", "--env", "A=b", "--workdir", "/srv"], ["--cap-drop", "ALL"],
                ["--user", "daemon"], ["--pids-limit", "200"],
            ]
            for (number, options) in kinds.enumerated() {
                let box = try ckpt.create("kind\(number)", options: options)
                let text = String(decoding: try Program.text("processes.py"), as: UTF8.self)
                func state(of box: Sandbox) throws -> String {
                    try box.exec("/usr/bin/python3", "-c", text).stdout
                }
                if number != 1 {
                    try box.say(
                        "x=1; cd /tmp; exec 3</etc/passwd; read -n 4 <&3; trap 'echo usr' USR1; umask 027")
                }
                if number < 2 {
                    let python =
                        "import hashlib, json, time; blob = bytearray(range(256)) * 4096; time.sleep(1000)"
                    try ckpt.ok("exec", "-d", box.name, "--", "/usr/bin/python3", "-c", python)
                    try box.sh("sleep .5")
                }
                // The copies are there beside them as long as they live.
                let before = try state(of: box)
                let id = try twin(box)
                #expect(try eventually(within: 20) { try ckpt.show(id).durable == nil }, "\(options)")
                let fork = try ckpt.fork(id)[0]
                let names = "hostname; cat /proc/sys/kernel/domainname"
                #expect(try fork.sh(names) == box.sh(names))
                func expectAll(of box: Sandbox, _ how: String) throws {
                    let told = try state(of: box)
                    #expect(told == before, "\(options) \(how): \(told)\n\(before)")
                }
                try expectAll(of: fork, "fork")
                for options in [["--engine", "criu"], []] {
                    _ = try ckpt.json(RestoreResult.self, ["restore", box.name, id] + options)
                    try expectAll(of: box, "\(options)")
                }
                if number != 1 { #expect(try fork.say("echo $x; trap").hasPrefix("1\n")) }
                try ckpt.ok("rm", "-f", fork.name, box.name)
            }
            try ckpt.ok("verify")
        }
    }

    /// In the snapshot before nobody had the rights of a session's bash.
    @Test func whoComesAfterAnEmptySandboxIsWrittenDown() throws {
        try withCkpt(environment: Self.twins) { ckpt in
            let box = try ckpt.create("empty")
            let first = try ckpt.json(SnapshotInfo.self, ["save", "--engine", "criu", box.name]).id
            try box.say("x=1; cd /tmp")
            let id = try twin(box)
            #expect(try eventually(within: 20) { try ckpt.show(id).durable == nil })
            #expect(try ckpt.show(id).parent == first)
            #expect(try ckpt.fork(id)[0].say("echo $x $PWD") == "1 /tmp")
            try ckpt.ok("verify")
        }
    }

    /// PID 1's program is a new file with each server.
    @Test func twinsAreWrittenDownByTheNextServerToo() throws {
        try withCkpt(environment: Self.twins) { ckpt in
            let box = try ckpt.create("next")
            try box.say("x=1")
            let first = try twin(box)
            #expect(try eventually(within: 20) { try ckpt.show(first).durable == nil })
            for round in 2...3 {
                try ckpt.ok("serve", "--stop")
                try box.restore(first)
                try box.say("x=\(round)")
                let id = try twin(box)
                try box.say("x=0", "other\(round)")
                let fork = try ckpt.fork(id)[0]
                #expect(try fork.say("echo $x") == "\(round)")
                let saved = try ckpt.json(SnapshotInfo.self, ["save", "--engine", "criu", box.name])
                #expect(saved.durable == nil)
            }
        }
    }

    private static let own = """
        echo $x $$ $PWD ${#y}; f; umask; trap; for n in 3 4; do grep -E 'pos|flags' /proc/$$/fdinfo/$n; readlink /proc/$$/fd/$n; done
        python3 -c 'import ctypes; print(ctypes.CDLL(None).prctl(30))'
        (sleep 0.05; grep -E '^(SigIgn|SigCgt|Cap|Seccomp|NoNew|PPid|Uid|Groups|Cpus_a)' /proc/$$/status)
        """

    @Test func aServerThatIsKilledLosesTwinsAndNothingElse() throws {
        try withCkpt(environment: Self.twins) { ckpt in
            let box = try ckpt.create("crash")
            try box.say("x=1; echo kept > /root/f")
            let durable = try box.save("--engine", "criu")
            let written = try twin(box)
            try ckpt.ok("tag", written, "lasts")
            let id = try twin(box)
            try box.say("x=2")
            let server = try #require(ckpt.serverPID)
            kill(server, SIGKILL)
            #expect(eventually { !Leftovers.isAlive(server) })
            #expect(try box.say("echo $x; cat /root/f") == "2\nkept")
            try box.waitFor("a=(/proc/[0-9]*); [ ${#a[@]} = 3 ]")
            // The second was killed while it was written down, or has just been.
            let last = try ckpt.call(["restore", "crash", id])
            #expect([0, 125].contains(last.status), "\(last)")
            try ckpt.ok("verify")
            try box.restore("lasts")
            #expect(try box.say("echo $x; cat /root/f") == "1\nkept")
            #expect(try ckpt.show("lasts").parent == durable)
            try box.say("x=2")
            _ = try twin(box)
            try box.say("x=3")
            try box.restore()
            #expect(try box.say("echo $x") == "2")
        }
    }
}
