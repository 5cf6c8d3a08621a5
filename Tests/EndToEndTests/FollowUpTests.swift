import Foundation
import Messages
import Testing

/// Saves that ckpt makes out of the snapshot before, without CRIU, where the processes are still the same.
@Suite struct FollowUpTests {
    /// Saves, and tells whether CRIU made the dump.
    private func save(_ box: Sandbox, _ options: String...) throws -> (
        id: String, byCriu: Bool, info: SnapshotInfo
    ) {
        let info = try box.ckpt.json(SnapshotInfo.self, ["save", box.name] + options)
        return (info.id, info.timings?.criuMs != nil, info)
    }

    /// The image files of a snapshot, by name.
    private func images(_ id: String, of ckpt: Ckpt) throws -> [String: Data] {
        let path = "\(ckpt.root)/snapshots/\(id)/process"
        let names = try FileManager.default.contentsOfDirectory(atPath: path).filter { $0.hasSuffix(".img") }
        return try Dictionary(
            uniqueKeysWithValues: names.map {
                ($0, try Data(contentsOf: URL(fileURLWithPath: "\(path)/\($0)")))
            })
    }

    /// Everything that bash can tell of itself. Whom it makes it makes with SIGTERM caught, for a moment.
    private func state(_ box: Sandbox) throws -> String {
        try box.say(
            """
            echo $x $$ $PWD ${#y}; f; cat /root/d/*; stat -c '%n %a %u %s %y' /root/d/*; jobs; ulimit -a; umask; trap
            cat /proc/$$/fdinfo/{3,4} | grep -E 'pos|flags'; readlink /proc/$$/fd/* | grep -v pipe:
            (sleep 0.05; grep -E '^(SigIgn|SigCgt|Cap|Seccomp|NoNew|PPid|Uid|Groups|Cpus_a)' /proc/$$/status)
            """)
    }

    /// Byte for byte, but for what tells of the dump itself and of pages, which are shared with different parents.
    @Test func theImagesAreThoseThatCriuWrites() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("twice")
            try box.say("mkdir /root/d; cd /root/d; echo one > a; exec 3<>a 4>>b; x=1; f() { echo f; }")
            try box.say("mkfifo p; exec 5<>p 6<p 7>p 5>&-; sleep 1000 < p &")
            try ckpt.ok("exec", "-d", box.name, "--", "sleep", "1000")
            let isCompared = { (name: String) in
                name != "inventory.img" && !["timens-", "pages-", "pagemap-"].contains { name.hasPrefix($0) }
            }
            var mine = try save(box), theirs = mine
            var (ours, criu): ([String: Data], [String: Data]) = ([:], [:])
            // CRIU numbers namespaces otherwise where no worker waited for it.
            for round in 1...8 {
                #expect(try save(box, "--engine", "criu").byCriu)
                try box.say(
                    """
                    x=\(round); y=$(seq 1 \(round)0000); trap 'echo \(round)' USR1; trap '' HUP; umask 02\(round % 8)
                    chmod 64\(round % 8) /root/d/p; ulimit -n \(500 - round); cd /usr/\(round % 2 == 0 ? "bin" : "lib"); echo more >&4; read -n 2 <&3; export z=$x
                    """)
                (mine, theirs) = try (save(box), save(box, "--engine", "criu"))
                #expect(!mine.byCriu && theirs.byCriu)
                (ours, criu) = try (images(mine.id, of: ckpt), images(theirs.id, of: ckpt))
                if Set(ours.keys.filter(isCompared)) == Set(criu.keys.filter(isCompared)) { break }
            }
            #expect(Set(ours.keys.filter(isCompared)) == Set(criu.keys.filter(isCompared)))
            // PID 1 ran in between, and a call that sleeps was gone on with, under another name.
            let ran = ["core-1.img", "core-4.img"]
            let different = ours.keys.filter { isCompared($0) && ours[$0] != criu[$0] && !ran.contains($0) }
            #expect(different.isEmpty, "\(different.sorted())")
            #expect(ours.keys.filter(isCompared).count > 15)
            #expect(mine.info.memory?.totalBytes == theirs.info.memory?.totalBytes)
            let clocks = try [mine.id, theirs.id].map { id in
                try ckpt.json(Inspection.self, ["inspect", id]).clocks?.monotonicSeconds ?? 0
            }
            #expect(clocks[0] > 0 && clocks[1] > clocks[0] && clocks[1] < clocks[0] + 30, "\(clocks)")
        }
    }

    @Test func aSessionComesBackFromEachOfThem() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("often")
            try box.say("mkdir /root/d; cd /root/d; echo one > a; exec 3<>a 4>>b; f() { echo $x; }")
            #expect(try save(box).byCriu)
            var saved: [(id: String, state: String)] = []
            for round in 1...6 {
                try box.say(
                    """
                    x=\(round); y=$(seq 1 \(round * 9000)); trap 'echo \(round)' USR1; umask 02\(round); cd /root/d
                    echo \(round) >&4; read -n 1 <&3; ulimit -n \(900 - round)\(round % 2 == 0 ? "; cd /tmp" : "")
                    """)
                let made = try save(box)
                #expect(!made.byCriu, "round \(round)")
                saved.append((made.id, try state(box)))
            }
            for (id, expected) in saved.shuffled() {
                try box.restore(id)
                #expect(try state(box) == expected)
                // What was restored can be followed up as well.
                try box.say("x=after")
                #expect(try !save(box).byCriu)
            }
            for (id, expected) in saved.suffix(2) {
                let fork = try ckpt.fork(id)[0]
                let told = try state(fork)
                #expect(told == expected, "\(told)\n\(expected)")
                #expect(try fork.say("hostname") == box.say("hostname"))
                #expect(try !save(fork).byCriu)
            }
            try ckpt.ok("verify")
        }
    }

    /// Rounding, timers, masks, handlers, the alternate stack, limits, priority, positions.
    @Test func whatOnlyAProcessItselfTellsComesBack() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("asked")
            try box.install("attributes.py")
            try ckpt.ok("exec", "-d", box.name, "--", "python3", "/root/attributes.py")
            func ask(_ question: String) throws -> String {
                try box.sh("rm -f /root/answer; echo \(question) > /root/ask.new; mv /root/ask.new /root/ask")
                try box.waitFor("test -e /root/answer")
                return try box.sh("cat /root/answer")
            }
            let fresh = try ask("state")
            #expect(try save(box).byCriu)
            var saved: [(id: String, state: String)] = []
            for number in 1...4 {
                let told = try ask("\(number)")
                #expect(told != fresh)
                let made = try save(box)
                #expect(!made.byCriu)
                #expect(try ask("state") == told, "the save altered it")
                saved.append((made.id, told))
            }
            for (id, expected) in saved.reversed() {
                try box.restore(id)
                let told = try ask("state")
                #expect(told == expected, "\(told)\n\(expected)")
            }
        }
    }

    @Test func whatChangedOtherwiseIsSavedByCriuInTheSameCall() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("changes")
            try box.say("cd /root; echo text > f")
            #expect(try save(box).byCriu)
            #expect(try !save(box).byCriu)
            func expectCriu(_ text: String, thenFollowed: Bool, undo: String = ":") throws {
                try box.say(text)
                let first = try save(box), second = try save(box)
                #expect(first.byCriu, "\(text)")
                #expect(second.byCriu == !thenFollowed, "\(text)")
                try box.restore(second.id)
                #expect(try box.say("echo $(cat f)") == "text")
                try box.say(undo)
                _ = try save(box)
                _ = try save(box)
            }
            try expectCriu(
                "setpriv --bounding-set -all sleep 1000 & sleep 0.2", thenFollowed: true,
                undo: "kill %1; wait")
            try expectCriu("exec 5< /proc/version", thenFollowed: true, undo: "exec 5<&-")
            try expectCriu(
                "(flock 7; exec sleep 1000) 7>lock & sleep 0.2", thenFollowed: false, undo: "kill %1; wait")
            try expectCriu(
                "mkfifo p; exec 8<>p; echo waiting >&8", thenFollowed: false, undo: "read <&8; exec 8<&-")
            try expectCriu(
                "python3 -c 'import socket, time; s = socket.socketpair(); time.sleep(1000)' & sleep 0.3",
                thenFollowed: false, undo: "kill %1; wait")
            try expectCriu(
                "python3 -c 'import threading, time; threading.Thread(target=time.sleep, args=[1000]).start()' & sleep 0.3",
                thenFollowed: false, undo: "kill -9 %1; wait")
            try expectCriu("exec 9>gone; rm gone", thenFollowed: false, undo: "exec 9>&-")
            #expect(try !save(box).byCriu)
        }
    }

    /// Regular files that are opened, closed and shared anew, by CRIU restored as by ckpt itself.
    @Test func filesThatWereOpenedSinceComeBack() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("opened")
            try box.say(
                "mkdir /root/d; cd /root/d; echo 0123456789 > a; echo abcdefghij > b; exec 3<>a 4>>log")
            #expect(try save(box).byCriu)
            let state = """
                for n in 3 4 5 6 7 8 9 12 13; do
                    case $(readlink /proc/$$/fd/$n) in
                        /root*|/dev*) echo $n $(readlink /proc/$$/fd/$n) $(grep -E 'pos|flags' /proc/$$/fdinfo/$n) ;;
                    esac
                done
                cat a b log; stat -c '%n %s' *
                """
            let steps = [
                "exec 5<b; read -n 3 <&5", "exec 3<&-; echo 1 >&4", "exec 6<>b; echo XY >&6",
                "exec 7>&6; echo Z >&7",
                "exec 5<a; read -n 5 <&5", "exec 4>&-; echo 2 >> log",
                "exec 8</root/d 9</dev/null 12>>new; echo new >&12",
                "exec 5<&- 6>&- 7>&-; mv a c; echo other > a", "exec 5<c 6<a 7<&6; read -n 2 <&7",
                "exec 5<&- 6<&- 7<&- 8<&- 9<&- 12>&-", "exec 13>>log; echo 3 >&13",
            ]
            var saved: [(id: String, state: String)] = []
            for step in steps {
                try box.say(step)
                let made = try save(box)
                #expect(!made.byCriu, "\(step)")
                saved.append((made.id, try box.say(state)))
                #expect(try box.say("[ -e /proc/$$/fd/6 -a -e /proc/$$/fd/7 ] && echo W >&7; :") == "")
                try box.restore(made.id)
            }
            #expect(saved[0].state.contains("5 /root/d/b pos: 3"))
            for (index, (id, expected)) in saved.enumerated() {
                for options in [[String](), ["--engine", "criu"]] {
                    _ = try ckpt.json(RestoreResult.self, ["restore", box.name, id] + options)
                    let told = try box.say(state)
                    #expect(told == expected, "after \(steps[index]) \(options): \(told)\n\(expected)")
                }
            }
            // What shares a position shares it afterwards.
            try box.restore(saved[3].id)
            #expect(try box.say("echo Q >&7; echo R >&6; tail -c +1 b").contains("Q\nR"))
            try ckpt.ok("verify")
        }
    }

    /// Processes, with their pipes, programs and places, by CRIU restored as by ckpt itself.
    @Test func whoCameAndWentSinceComesBack() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("came")
            try box.install("processes.py")
            try box.say("x=1; mkfifo /root/p; exec 5<>/root/p")
            #expect(try save(box).byCriu)
            func start(_ words: String...) throws -> String {
                try ckpt.json(JobInfo.self, ["exec", "-d", "--cwd", "/root", box.name, "--"] + words).id
            }
            let python = "import hashlib, json, time; blob = bytearray(range(256)) * 65536; time.sleep(1000)"
            let steps: [(what: String, body: () throws -> Void)] = [
                ("a file beside a FIFO", { try box.say("exec 6</etc/passwd; read -n 3 <&6") }),
                ("a job", { _ = try (start("/usr/bin/python3", "-c", python), box.sh("sleep .5")) }),
                (
                    "children",
                    {
                        try box.say(
                            "sleep 1000 & (cd /tmp; umask 077; exec nice -n 3 sleep 999 <&6) & sleep .2")
                    }
                ),
                ("a pipeline", { try box.say("sleep 996 | sleep 998 & sleep .2") }),
                ("a subshell", { try box.say("(z=here; sleep 997; echo $z) & sleep .2") }),
                ("another session", { try box.say("x=2; cd /usr", "second") }),
                ("none of a pipeline", { try box.say("pkill -f 'sleep 998'; sleep .2") }),
                ("two jobs", { for _ in 1...2 { _ = try start("sleep", "1000") } }),
                ("one of three", { try box.sh("pkill -o -f 'sleep 1000'; sleep .1") }),
                ("another name", { try box.say("exec -a odd python3 -c '\(python)' & sleep .5", "third") }),
                (
                    "another program",
                    { try box.say("(trap '' INT; until [ -e /root/go ]; do :; done; exec sleep 995) &") }
                ),
                (
                    "the same with it executed",
                    { try box.sh("> /root/go; until pgrep -f 'sleep 995'; do :; done") }
                ),
                (
                    "nobody but sessions",
                    {
                        try box.sh("pkill sleep; pkill python3; sleep .2")
                        for session in ["main", "second", "third"] { try box.say("wait", session) }
                    }
                ),
            ]
            func state() throws -> String { try box.exec("/usr/bin/python3", "/root/processes.py").stdout }
            var saved: [(what: String, id: String, state: String)] = []
            for step in steps {
                try step.body()
                let made = try save(box)
                #expect(!made.byCriu, "\(step.what)")
                saved.append((step.what, made.id, try state()))
            }
            for (what, id, expected) in saved.shuffled() {
                for options in [[String](), ["--engine", "criu"]] {
                    _ = try ckpt.json(RestoreResult.self, ["restore", box.name, id] + options)
                    let told = try state()
                    #expect(told == expected, "\(what) \(options): \(told)\n\(expected)")
                    #expect(try box.say("echo $x") == "1")
                }
            }
            try ckpt.ok("verify")
        }
    }

    /// A restore refuses a program or library of another build.
    @Test func whatWasMappedSinceHasItsBuildIDs() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("builds")
            try box.say("x=1")
            #expect(try save(box).byCriu)
            try box.say("python3 -c 'import hashlib, json, time; time.sleep(1000)' & sleep .5")
            let script = String(decoding: try Program.text("build_ids.py"), as: UTF8.self)
            func builds(_ id: String) throws -> String {
                let python = Process(), output = Pipe()
                python.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
                python.arguments = ["-c", script, "\(ckpt.root)/snapshots/\(id)/process/files.img"]
                python.standardOutput = output
                try python.run()
                let text = output.fileHandleForReading.readDataToEndOfFile()
                python.waitUntilExit()
                return String(decoding: text, as: UTF8.self)
            }
            let (mine, theirs) = try (save(box), save(box, "--engine", "criu"))
            #expect(!mine.byCriu && theirs.byCriu)
            let told = try builds(mine.id)
            #expect(try told == builds(theirs.id))
            #expect(
                told.split(separator: "\n").filter { $0.contains("python3") && !$0.hasSuffix("[]") }.count > 0
            )
        }
    }

    /// A restore compares modes, and names byte by byte.
    @Test func directoriesAndNamesComeBackAsTheyAre() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("named")
            try box.say(
                "mkdir -p /tmp/d; cd /tmp/d; echo AAAA > $'a\\xe9'; echo BBBB > $'a\\xe8'; cp /usr/bin/true e"
            )
            try box.say("exec 5< $'a\\xe9' 6<>e")
            let steps = [
                "chmod 700 /tmp/d; chmod 711 /", "exec 5< $'a\\xe8'; read -N 2 x <&5", "cp /usr/bin/false e",
                "mkdir $'caf\\xe9'; cd $'caf\\xe9'", "cd /tmp; chmod 1755 .",
            ]
            for step in steps {
                _ = try save(box)
                _ = try save(box)
                try box.say(step)
                let state =
                    "pwd | od -c; stat -c %a . /; cat <&5; stat -c '%n %a %s %y' /tmp/d/* /proc/$$/cwd/* 2>&1; :"
                let id = try save(box).id
                let before = try box.say("(\(state))")
                try box.restore(id)
                let after = try box.say("(\(state))")
                #expect(after == before, "\(step): \(after)\n\(before)")
                try box.say("exec 5< /etc/hostname")
            }
        }
    }

    /// Whom they make while they are stopped one after the other is nobody's tracee.
    @Test func nobodyStaysStoppedWhereProcessesForkAllTheTime() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("forks")
            #expect(try save(box).byCriu)
            let text = """
                import os, signal
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
                for _ in range(3): os.fork()
                while True:
                    if os.fork() == 0: os._exit(0)
                """
            try ckpt.ok("exec", "-d", box.name, "--", "python3", "-c", text)
            for _ in 1...12 { _ = try ckpt.call(["save", box.name]) }
            let stopped = { try box.sh("grep -l '^State:.t' /proc/[0-9]*/status | wc -l") }
            #expect(try eventually(within: 5) { try stopped() == "0" })
            try box.waitFor("pkill -9 python3; sleep 0.1; ! pgrep python3")
            let last = try save(box)
            try box.restore(last.id)
            #expect(try !save(box).byCriu)
        }
    }

    /// Pages that a process may not read itself, and pages that are none.
    @Test func memoryThatCannotBeReadComesBack() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("walled")
            let text = #"""
                import ctypes, mmap, os, time
                c = ctypes.CDLL(None, use_errno=True)
                c.mmap.restype = ctypes.c_void_p
                p = c.mmap(None, 65536, 3, 0x22, -1, 0)
                g = c.mmap(None, 65536, 3, 0x22, -1, 0)
                ctypes.memset(p, 65, 65536); ctypes.memset(g, 66, 65536)
                def state():
                    c.mprotect(ctypes.c_void_p(p), 65536, 3)
                    text = ctypes.string_at(p, 65536)
                    c.mprotect(ctypes.c_void_p(p + 16384), 16384, 0)
                    child = os.fork()
                    if child == 0:
                        ctypes.string_at(g + 6 * 4096, 1)
                        os._exit(0)
                    return f"{sum(text)} {os.waitpid(child, 0)[1]}"
                c.mprotect(ctypes.c_void_p(p + 16384), 16384, 0)
                while True:
                    time.sleep(0.01)
                    if not os.path.exists("/root/ask"): continue
                    word = open("/root/ask").read().strip()
                    os.unlink("/root/ask")
                    if word == "guard": c.madvise(ctypes.c_void_p(g + 16384), 16384, 102)
                    if word == "unguard": c.madvise(ctypes.c_void_p(g + 16384), 4096, 103)
                    with open("/root/told.new", "w") as f: f.write(state())
                    os.rename("/root/told.new", "/root/told")
                """#
            try box.write(Data(text.utf8), to: "/root/walled.py")
            try ckpt.ok("exec", "-d", box.name, "--", "python3", "/root/walled.py")
            func ask(_ word: String) throws -> String {
                try box.sh("rm -f /root/told; echo \(word) > /root/new; mv /root/new /root/ask")
                try box.waitFor("test -e /root/told")
                return try box.sh("cat /root/told")
            }
            var saved: [(String, String)] = []
            for word in ["state", "state", "guard", "unguard", "state"] {
                let told = try ask(word)
                saved.append((try save(box).id, told))
            }
            #expect(!ckpt.serverLog.contains("saved once more"))
            for (id, told) in saved.reversed() {
                try box.restore(id)
                #expect(try ask("state") == told)
            }
        }
    }

    /// Who notes is traced by nobody, and may be killed like anything else.
    @Test func whoNotesMayBeKilled() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("killed")
            try box.say("x=1")
            #expect(try save(box).byCriu)
            #expect(try !save(box).byCriu)
            let server = try #require(ckpt.serverPID)
            var killed = 0
            for process in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {
                guard let pid = pid_t(process),
                    let status = try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8),
                    status.hasPrefix("Name:\tckpt-twins\n"), status.contains("\nPPid:\t\(server)\n")
                else { continue }
                kill(pid, SIGKILL)
                killed += 1
            }
            #expect(killed > 0)
            try box.say("x=2")
            let made = try save(box)
            #expect(made.byCriu)
            try box.say("x=3")
            try box.restore(made.id)
            #expect(try box.say("echo $x") == "2")
            #expect(try !save(box).byCriu)
        }
    }

    /// It waits with all the others stopped when the server is killed: they go on.
    @Test func aServerThatIsKilledMeanwhileLosesNothing() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("survives")
            try box.say("x=1; cd /root")
            #expect(try save(box).byCriu)
            for round in 1...12 {
                try box.say("x=\(round); echo \(round) > f")
                let saving = try ckpt.start("save", box.name)
                usleep(UInt32(round * 900))
                if let server = ckpt.serverPID { kill(server, SIGKILL) }
                _ = saving.wait()
                #expect(try box.say("echo $x $(cat f)") == "\(round) \(round)")
            }
            _ = try save(box)
            try box.say("x=0")
            let last = try save(box)
            #expect(!last.byCriu)
            try box.restore(last.id)
            #expect(try box.say("echo $x") == "0")
        }
    }
}
