import Foundation
import Messages
import Testing

/// Restores in which ckpt makes the processes anew by itself, without CRIU.
@Suite struct RebuildTests {
    /// Restores, and tells whether CRIU did it.
    private func restore(_ box: Sandbox, _ snapshot: String, _ options: String...) throws -> Bool {
        try box.ckpt.json(RestoreResult.self, ["restore", box.name, snapshot] + options).timings.criuMs != nil
    }

    /// Restores a snapshot that can be rebuilt. A program whose inode changed meanwhile, if only by a link, CRIU compares
    /// once.
    private func rebuild(_ box: Sandbox, _ snapshot: String) throws {
        guard try restore(box, snapshot) else { return }
        #expect(try !restore(box, snapshot), "\(box.ckpt.serverLog)")
    }

    /// What the kernel tells of every process of a sandbox, by pid in it, but for what tells of the run.
    private func facts(_ box: Sandbox) throws -> [String: String] {
        let initProcess = try #require(try box.info().pid)
        var facts: [String: String] = [:]
        var waiting = [Int(initProcess)]
        while let pid = waiting.popLast() {
            func text(_ name: String) throws -> String {
                let data = try Data(contentsOf: URL(fileURLWithPath: "/proc/\(pid)/\(name)"))
                return String(decoding: data.map { $0 == 0 ? 10 : $0 }, as: UTF8.self)
            }
            func lines(_ name: String, but left: [String] = []) throws -> String {
                try text(name).split(separator: "\n")
                    .filter { line in !left.contains { line.hasPrefix($0) } }.joined(separator: "\n")
            }
            waiting += try text("task/\(pid)/children").split(separator: " ").compactMap { Int($0) }
            let status = try text("status")
            let inner = String(
                try #require(
                    status.split(separator: "\n").first { $0.hasPrefix("NSpid:") }?.split(separator: "\t")
                        .last))
            func note(_ key: String, _ value: String) { facts["\(inner) \(key)"] = value }
            let ids = ["NStgid", "NSpid", "NSpgid", "NSsid"].map { name in
                status.split(separator: "\n").first { $0.hasPrefix(name) }?.split(separator: "\t").last ?? ""
            }
            note("ids", "\(ids)")
            note(
                "status",
                try lines(
                    "status",
                    but: [
                        "Tgid", "Ngid", "Pid", "PPid", "NS", "Vm", "Rss", "voluntary", "nonvoluntary",
                        "State", "SigQ",
                        // The kernel's table of descriptors does not shrink.
                        "FDSize",
                    ]))
            note(
                "sizes",
                status.split(separator: "\n").filter {
                    ["VmLck", "VmPin", "VmData", "VmStk", "VmExe", "VmLib"].contains($0.prefix { $0 != ":" })
                }.joined(separator: "\n"))
            for name in [
                "cmdline", "environ", "limits", "comm", "oom_score_adj", "loginuid", "personality",
                "coredump_filter",
                "timerslack_ns", "cgroup", "auxv", "uid_map",
            ] {
                note(name, try text(name))
            }
            // Device and inode of what is mapped are the mount's.
            let maps = try text("maps").split(separator: "\n").map { line in
                line.split(separator: " ", omittingEmptySubsequences: true).enumerated()
                    .filter { ![3, 4].contains($0.offset) }.map { String($0.element) }.joined(separator: " ")
            }
            note("maps", maps.joined(separator: "\n"))
            // Whether it counts for overcommitment depends on what a mapping was once allowed.
            note(
                "flags",
                try text("smaps").split(separator: "\n").filter { $0.hasPrefix("VmFlags") }
                    .joined(separator: "\n").replacingOccurrences(of: " ac", with: ""))
            // Of proc_pid_stat(5): what the process is, and where its memory lies.
            let stat = try text("stat").split(separator: ")").last!.split(separator: " ").map(String.init)
            note(
                "stat",
                [15, 16, 17, 23, 24, 25, 29, 30, 38, 39, 42, 43, 44, 45, 46, 47, 48].map { stat[$0] }.joined(
                    separator: " "))
            for link in ["exe", "cwd", "root"] {
                note(link, try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/\(link)"))
            }
            let numbers = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd")
            for number in numbers where !(inner == "1" && number == "4") {
                let target = try FileManager.default.destinationOfSymbolicLink(
                    atPath: "/proc/\(pid)/fd/\(number)")
                note("fd \(number)", String(target.prefix { $0 != "[" }))
                note("fdinfo \(number)", try lines("fdinfo/\(number)", but: ["mnt_id", "ino"]))
            }
            // Where it is mounted and how, without the numbers of mounts and devices.
            let mounts = try text("mountinfo").split(separator: "\n").map { line in
                let words = line.split(separator: " ").map(String.init)
                return (words[3...5] + words.drop { $0 != "-" }.dropFirst().prefix(1)).joined(separator: " ")
            }
            note("mounts", mounts.sorted().joined(separator: "\n"))
            note("clocks", try text("timens_offsets").split(separator: "\n").map { $0.prefix(9) }.joined())
        }
        return facts
    }

    /// Compares everything the kernel tells of a tree right after a save, and rebuilt.
    private func expectTheSame(_ box: Sandbox, _ snapshot: String) throws {
        let before = try facts(box)
        try rebuild(box, snapshot)
        let after = try facts(box)
        #expect(before.count > 20 && Set(before.keys) == Set(after.keys))
        for (key, value) in after where value != before[key] {
            let (old, new) = ((before[key] ?? "").split(separator: "\n"), value.split(separator: "\n"))
            let lines = new.difference(from: old).map { change in
                switch change {
                case .insert(_, let line, _): "+ \(line)"
                case .remove(_, let line, _): "- \(line)"
                }
            }
            Issue.record("\(key):\n\(lines.joined(separator: "\n"))")
        }
    }

    @Test func aRebuiltTreeIsTheOneThatWasSaved() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("same")
            try box.say(
                """
                mkdir /root/d; cd /root/d; echo one > a; exec 3<>a 4>>b 5<.; x=1; f() { echo f; }; read -n 2 <&3
                trap 'echo 1' USR1; trap '' HUP; umask 027; ulimit -n 600; ulimit -s 4096
                """)
            let resized = "python3 -c 'import fcntl; print(fcntl.fcntl(9, fcntl.F_SETPIPE_SZ, 8192))'"
            #expect(try box.say("mkfifo p q; exec 6<>p 7<p 8>p 6>&-; exec 9<>q; \(resized)") == "8192")
            let shell = "sleep 1000 & (exec -a other sleep 2000) & sh -c 'sleep 3000; :' & wait"
            try ckpt.ok("exec", "-d", box.name, "--", "bash", "-c", shell)
            try ckpt.ok("exec", "-d", "--user", "65534:65534", box.name, "--", "sleep", "1000")
            try box.install("attributes.py")
            try ckpt.ok("exec", "-d", box.name, "--", "python3", "/root/attributes.py")
            try box.waitFor("[ $(pgrep -c sleep) = 4 ]")
            try expectTheSame(box, try box.save())
            try box.say("y=$(seq 1 20000); exec 4>&-")
            try expectTheSame(box, try box.save())
            let size = "python3 -c 'import fcntl; print(fcntl.fcntl(9, fcntl.F_GETPIPE_SZ))'"
            let told = try box.say(
                "echo through >&8; read -u 7 z; echo $z; echo both >&9; read -u 9 z; echo $z; \(size)")
            #expect(told == "through\nboth\n8192")
            #expect(try box.say("exec 8>&-; read -u 7 z || echo end") == "end")
            #expect(try box.say("echo $x ${#y}; f; read -N 1 z <&3; echo $z") == "1 108893\nf\ne")
        }
    }

    /// Each process has entries of its own for its directories, and they are born beside each other.
    @Test func aCrowdIsRebuiltAsItWas() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("crowd")
            try box.say(
                """
                cd /srv; for i in {1..100}; do sleep 1000 <&0 & done
                for i in {1..20}; do (cd /tmp; sh -c 'sleep 2000; :' <&0) & done
                """)
            try box.waitFor("[ $(pgrep -c sleep) = 120 ]")
            let snapshot = try box.save()
            try expectTheSame(box, snapshot)
            #expect(try !restore(box, snapshot))
            #expect(try box.say("jobs | wc -l; kill %1; wait %1; echo $?; pwd") == "120\n143\n/srv")
        }
    }

    @Test func whatElseThereIsCriuRestores() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("others")
            try box.say("cd /root; echo text > f; x=1")
            let plain = try box.save()
            try rebuild(box, plain)
            #expect(try restore(box, plain, "--suspended"))
            try ckpt.ok("kill", box.name, "-s", "CONT")
            for text in [
                "(flock 7; exec sleep 1000) 7>lock & sleep 0.2", "mkfifo p; exec 8<>p; echo waiting >&8",
                "python3 -c 'import socket, time; s = socket.socketpair(); time.sleep(1000)' & sleep 0.3",
                "python3 -c 'import threading, time; threading.Thread(target=time.sleep, args=[1000]).start()' & sleep 0.3",
                "exec 9>gone; rm gone", "(ulimit -v 5000000; trap '' TERM; taskset 1 sleep 1000) & sleep 0.2",
                "setsid sh -c 'sleep 1000 & exit' & sleep 0.3",
                // Mapped shared, and opened to be written to; a table of descriptors that two share; a name that is no UTF-8.
                "python3 -c 'import mmap, os, time; m = mmap.mmap(os.open(\"f\", os.O_RDWR), 0, mmap.MAP_SHARED, mmap.PROT_READ); time.sleep(1000)' & sleep 0.3",
                "python3 -c 'import ctypes, time; ctypes.CDLL(None).syscall(56, 0x400 | 17, 0, 0, 0, 0); time.sleep(1000)' & sleep 0.3",
                #"python3 -c 'import ctypes, time; ctypes.CDLL(None).prctl(15, b"\xff\xfe"); time.sleep(1000)' & sleep 0.3"#,
            ] {
                try box.say(text)
                let snapshot = try box.save()
                try box.say("x=2")
                #expect(try restore(box, snapshot), "\(text)")
                #expect(try box.say("echo $x $(cat f)") == "1 text")
                try rebuild(box, plain)
                #expect(try box.say("echo $x $(cat f)") == "1 text")
            }
        }
    }

    /// Who makes processes anew may be killed like anything else.
    @Test func whoRebuildsMayBeKilled() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("killed")
            try box.say("x=1")
            let snapshot = try box.save()
            let server = try #require(ckpt.serverPID)
            func takers() -> [pid_t] {
                let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
                return all.compactMap { pid_t($0) }.filter { pid in
                    let status = try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
                    return status.map {
                        $0.hasPrefix("Name:\tckpt-twins\n") && $0.contains("\nPPid:\t\(server)\n")
                    } == true
                }
            }
            // All of them: one that came afterwards would do it.
            #expect(try eventually(within: 10) { takers().count == 2 })
            takers().forEach { kill($0, SIGKILL) }
            try box.say("x=2")
            #expect(try restore(box, snapshot))
            #expect(try box.say("echo $x") == "1")
            try rebuild(box, snapshot)
            for round in 1...12 {
                try box.say("x=2")
                let restoring = try ckpt.start("restore", box.name, snapshot)
                usleep(UInt32(round * 3500))
                takers().forEach { kill($0, SIGKILL) }
                #expect(restoring.wait().status == 0)
                #expect(try box.say("echo $x") == "1")
            }
        }
    }

    /// Until the new processes run the old ones stay.
    @Test func aServerThatIsKilledMeanwhileLosesNothing() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("survives")
            try box.say("x=1; cd /root; echo 1 > f")
            let snapshot = try box.save()
            for round in 1...14 {
                try box.restore(snapshot)
                try box.say("x=2; echo 2 > f")
                let restoring = try ckpt.start("restore", box.name, snapshot)
                usleep(UInt32(round * 3500))
                if let server = ckpt.serverPID { kill(server, SIGKILL) }
                _ = restoring.wait()
                let state = try box.say("echo $x $(cat f)")
                #expect(state == "2 2" || state == "1 1", "\(state)")
            }
            try box.restore(snapshot)
            #expect(try box.say("echo $x $(cat f)") == "1 1")
        }
    }
}
