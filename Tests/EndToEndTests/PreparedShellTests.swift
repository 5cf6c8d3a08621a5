import Foundation
import Glibc
import Messages
import Testing

/// Where first commands are calls in sessions, sandboxes that wait to be created have started their bash already. Nobody can
/// tell but by the clock.
@Suite struct PreparedShellTests {
    /// A new sandbox with a bash that waits; what is made before has the server learn that one is wanted.
    private func prepared(_ ckpt: Ckpt, _ name: String, _ options: String...) throws -> Sandbox {
        let teacher = try ckpt.create("teacher")
        try teacher.say(":")
        try ckpt.ok("rm", "-f", "teacher")
        let box = Sandbox(ckpt: ckpt, name: name)
        let isPrepared = try eventually {
            try ckpt.succeed(["create", name] + options)
            if try !children(of: box).isEmpty { return true }
            try ckpt.ok("rm", "-f", name)
            return false
        }
        try #require(isPrepared, "no sandbox had a bash that waits")
        return box
    }

    /// The host's pids of the processes that PID 1 has started and that have not ended.
    private func children(of box: Sandbox) throws -> [pid_t] {
        let pid = try #require(try box.info().pid)
        let text = try String(contentsOfFile: "/proc/\(pid)/task/\(pid)/children", encoding: .utf8)
        return text.split(separator: " ").compactMap { pid_t($0) }.filter(Leftovers.isAlive)
    }

    @Test func theFirstCallGetsIt() throws {
        try withCkpt { ckpt in
            let box = try prepared(ckpt, "box", "--hostname", "its-own.name")
            let shell = try children(of: box)
            let info = try box.info()
            #expect(info.processes == 1 && info.sessions.isEmpty, "\(info)")
            let file = "\(ckpt.root)/before"
            try Data("kept\n".utf8).write(to: URL(fileURLWithPath: file))
            defer { unlink(file) }
            try ckpt.ok("cp", file, "box:/root/before")
            sleep(3)
            #expect(
                try box.say("echo $HOSTNAME $((SECONDS < 3)) $$ $PPID $? $#; cat before; hostname", "any")
                    == "its-own.name 1 2 1 0 0\nkept\nits-own.name")
            #expect(try children(of: box) == shell)
            #expect(try box.say("ps -e -o comm=", "any") == "ckpt-init\nbash\nps")
            #expect(try box.info().sessions == ["any"])
            // The next session has one of its own, and all go on as ever.
            #expect(try box.say("echo $((SECONDS < 3)) $HOSTNAME", "other") == "1 its-own.name")
            #expect(try box.session("exit 3", "any").status == 3)
            #expect(try box.say("echo again", "any") == "again")
            let snapshot = try box.save()
            try box.say("x=1", "other")
            try box.restore(snapshot)
            #expect(try box.say("echo ${x-none} $HOSTNAME", "other") == "none its-own.name")
            // What comes back into one that nobody has used since its reset is there, and is told of.
            try ckpt.ok("reset", "box")
            #expect(try box.info().processes == 1)
            try box.restore(snapshot)
            let restored = try box.info()
            #expect(restored.processes == 3 && restored.sessions == ["any", "other"], "\(restored)")
        }
    }

    @Test func whoeverDoesSomethingElseFirstFindsNone() throws {
        try withCkpt { ckpt in
            var box = try prepared(ckpt, "fresh")
            #expect(try box.sh("ps -e -o args= | grep -c '[n]orc' || true") == "0")
            #expect(try children(of: box).isEmpty)
            #expect(try box.say("echo works") == "works")

            box = try prepared(ckpt, "saved")
            let snapshot = try box.save()
            #expect(try ckpt.show(snapshot).processes == 1)
            #expect(try children(of: box).isEmpty)

            box = try prepared(ckpt, "watched")
            let top = try ckpt.ok("top", "watched").stdout
            #expect(top.contains("ckpt-init") && !top.contains("bash"), "\(top)")

            box = try prepared(ckpt, "job")
            try ckpt.ok("exec", "-d", "job", "--", "sleep", "1000")
            #expect(try children(of: box).count == 1)

            box = try prepared(ckpt, "paused")
            try ckpt.ok("pause", "paused")
            #expect(try children(of: box).isEmpty)
            try ckpt.ok("unpause", "paused")
            #expect(try box.say("echo works") == "works")
        }
    }

    @Test func aCallThatWantsAnotherBashHasOne() throws {
        try withCkpt { ckpt in
            for (name, options, expected) in [
                ("env", ["--env", "A=1"], "1 0 /root"), ("cwd", ["--cwd", "/usr"], " 0 /usr"),
                ("user", ["--user", "nobody"], " 65534 /"),
            ] {
                let box = try prepared(ckpt, name)
                let shell = try children(of: box)
                #expect(
                    try box.session("echo $A $(id -u) $PWD", options: options).stdout
                        .trimmingCharacters(in: .whitespacesAndNewlines)
                        == expected.trimmingCharacters(in: .whitespaces), "\(name)")
                #expect(try children(of: box) != shell && children(of: box).count == 1, "\(name)")
            }
        }
    }

    @Test func anotherServerGivesItToo() throws {
        try withCkpt { ckpt in
            let box = try prepared(ckpt, "box")
            let (shell, server) = (try children(of: box), try #require(ckpt.serverPID))
            kill(server, SIGKILL)
            #expect(eventually { !Leftovers.isAlive(server) })
            #expect(try box.say("echo $HOSTNAME $$") == "box 2")
            #expect(try children(of: box) == shell)
        }
    }
}
