import Foundation
import Glibc
import Messages
import Testing

/// Commands in the background: they belong to the sandbox, and so does what they print.
@Suite struct JobTests {
    /// Prints a line each time the file /root/go grows by a byte, until it finds `end` in it.
    private static let counter = """
        touch /root/go; n=0
        while :; do
            while [ $n -lt $(stat -c %s /root/go) ]; do
                n=$((n+1)); echo line $n; echo error $n >&2
                grep -q end /root/go && exit 7
            done
            sleep 0.02
        done
        """

    private func start(_ box: Sandbox, _ text: String, _ options: String...) throws -> String {
        try box.ckpt.succeed(["exec", "-d"] + options + [box.name, "--", "bash", "-c", text]).line
    }

    private func jobs(_ box: Sandbox) throws -> [JobInfo] {
        try box.ckpt.json(JobList.self, ["jobs", box.name]).jobs
    }

    private func waitForLine(_ number: Int, of job: String, in box: Sandbox) throws {
        let seen = try eventually {
            try box.ckpt("job", box.name, job).stdout.hasSuffix("line \(number)\n")
        }
        if !seen { throw HarnessError("job \(job) never printed line \(number)") }
    }

    @Test func outputStateAndExitCode() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("jobs")
            let id = try start(box, Self.counter)
            try box.sh("printf a >> /root/go")
            try waitForLine(1, of: id, in: box)
            let running = try ckpt("job", "jobs", id)
            #expect(running.status == 0 && running.stdout == "line 1\n", "\(running)")
            #expect(running.stderr == "error 1\nckpt: job \(id) is running\n", "\(running)")
            let listed = try #require(try jobs(box).first)
            #expect(listed.id == id && listed.state == .running && listed.exitCode == nil)
            #expect(listed.command.hasPrefix("bash -c touch /root/go") && listed.stdoutBytes == 7)
            #expect(try box.exec("test", "-d", "/proc/\(try #require(listed.pid))").status == 0)
            #expect(abs(listed.started - Date().timeIntervalSince1970) < 60)

            let follower = try ckpt.start("job", "--follow", "jobs", String(id.prefix(4)))
            #expect(eventually { follower.output == "line 1\n" })
            try box.sh("printf b >> /root/go")
            #expect(eventually { follower.output == "line 1\nline 2\n" }, "\(follower.output)")
            try box.sh("printf end >> /root/go")
            let followed = follower.wait()
            #expect(
                followed.status == 7 && followed.stdout.hasPrefix("line 1\nline 2\nline 3\n"), "\(followed)")
            let over = try #require(try jobs(box).first)
            #expect(over.state == .exited && over.exitCode == 7 && over.pid == nil && over.ended != nil)
            #expect(try ckpt("job", "jobs", id).status == 7)
            expectRefusal(try ckpt("job", "jobs", "nope"), names: ["jobs", "nope"])
            try ckpt.ok("job", "--rm", "jobs", id)
            #expect(try jobs(box).isEmpty)
            #expect(try box.sh("ls /.ckpt/job") == "", "the output's files stay")
        }
    }

    @Test func restoreForkAndANewServer() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("tree")
            let id = try start(box, Self.counter)
            try box.sh("printf a >> /root/go")
            try waitForLine(1, of: id, in: box)
            let snapshot = try box.save()
            try box.sh("printf bc >> /root/go")
            try waitForLine(3, of: id, in: box)

            try box.restore(snapshot)
            let restored = try ckpt("job", "tree", id)
            #expect(restored.stdout == "line 1\n", "the output as of the snapshot: \(restored)")
            let fork = try ckpt.fork(snapshot, name: "forked")[0]
            #expect(try ckpt("job", "forked", id).stdout == "line 1\n")
            try fork.sh("printf b >> /root/go")
            try waitForLine(2, of: id, in: fork)
            #expect(try ckpt("job", "tree", id).stdout == "line 1\n", "the fork prints into the original")

            // No server: the job goes on, and its output is there afterwards.
            try ckpt.ok("serve", "--stop")
            let pid = try #require(try box.info().pid)
            try ckpt.ok("serve", "--stop")
            let file = try FileHandle(forWritingTo: URL(fileURLWithPath: "/proc/\(pid)/root/root/go"))
            try file.seekToEnd()
            try file.write(contentsOf: Data("xyz".utf8))
            try file.close()
            let log = "/proc/\(pid)/root/.ckpt/job/\(id).1.0"
            #expect(
                eventually { (try? String(contentsOfFile: log, encoding: .utf8))?.contains("line 4") == true }
            )
            #expect(ckpt.serverPID == nil, "something has started a server")
            #expect(try ckpt("job", "tree", id).stdout == "line 1\nline 2\nline 3\nline 4\n")

            let ended = try ckpt.json(JobInfo.self, ["job", "--stop", "forked", id])
            #expect(ended.signal == SIGTERM && ended.exitCode == 143)
            #expect(try jobs(box).first?.state == .running, "stopping the fork's job stopped the original's")
            try ckpt.ok("reset", "tree")
            #expect(try jobs(box).isEmpty)
        }
    }

    @Test func muchOutputNeitherBlocksNorGrows() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("chatty")
            let bytes = 150_000_000
            let id = try start(box, "head -c \(bytes) /dev/zero | tr '\\0' x; printf END; touch /root/done")
            // Nobody reads: it still comes to its end.
            try box.waitFor("test -e /root/done")
            #expect(try ckpt("wait", "chatty", id).status == 0)
            let job = try #require(try jobs(box).first)
            #expect(job.truncated && job.stdoutBytes == bytes + 3)
            let output = try ckpt("job", "chatty", id)
            #expect(output.stdoutData.count >= 63 << 20 && output.stdoutData.count <= 64 << 20)
            #expect(output.stdout.hasSuffix("xEND"))
            let missing = bytes + 3 - output.stdoutData.count
            #expect(
                output.stderr.contains("\(missing) bytes of the output were not kept"), "\(output.stderr)")
            #expect(Int(try box.sh("du -sm /.ckpt/job | cut -f1"))! <= 66)
            try ckpt.ok("job", "--rm", "chatty", id)
            #expect(try box.sh("ls /.ckpt/job") == "")
        }
    }

    @Test func stopping() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("stop")
            let deaf = try start(
                box, "trap '' TERM; (trap '' TERM; setsid sleep 3333) & echo up; while :; do sleep 0.1; done")
            #expect(try eventually { try ckpt("job", "stop", deaf).stdout == "up\n" })
            expectRefusal(try ckpt("job", "--rm", "stop", deaf), names: [deaf, "runs"])
            let killed = try ckpt.json(JobInfo.self, ["job", "--stop", "--grace", "0.3", "stop", deaf])
            #expect(killed.signal == SIGKILL && killed.exitCode == 137)
            try box.waitFor("! pgrep -f 'sleep 333[3]'", within: 30)
            let polite = try start(box, "trap 'echo bye; exit 3' INT; echo up; while :; do sleep 0.05; done")
            #expect(try eventually { try ckpt("job", "stop", polite).stdout == "up\n" })
            try ckpt.ok("job", "--stop", "--signal", "INT", "stop", polite)
            let end = try ckpt("job", "stop", polite)
            #expect(end.status == 3 && end.stdout == "up\nbye\n", "\(end)")
            let late = try start(box, "echo partial; sleep 60", "--timeout", "0.3")
            let over = try ckpt("job", "-f", "stop", late)
            #expect(over.status == 124 && over.stdout == "partial\n", "\(over)")
            let missing = try ckpt.ok("exec", "-d", "stop", "--", "no-such-program").line
            let failed = try ckpt("job", "-f", "stop", missing)
            #expect(failed.status == 127 && failed.stderr.contains("no-such-program"), "\(failed)")
            #expect(try ckpt("exec", "-d", "-i", "stop", "--", "cat").status == 2)
        }
    }

    @Test func jobsOfSessionsAndManyJobs() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("many")
            try box.say("cd /usr/lib; word=kept")
            let call = try ckpt.ok(
                "exec", "-d", "--session", "main", "many", "--", "pwd; echo $word; word=new"
            ).line
            let said = try ckpt("job", "-f", "many", call)
            #expect(said.status == 0 && said.stdout == "/usr/lib\nkept\n", "\(said)")
            #expect(try box.say("echo $word") == "new")
            let script = "for i in $(seq 70); do \(Ckpt.binary) exec -d many -- sh -c \"echo $i\"; done"
            let ids = try run(["bash", "-c", script], environment: ckpt.environment).lines
            #expect(ids.count == 70)
            #expect(try eventually { try jobs(box).allSatisfy { $0.state == .exited } })
            #expect(try jobs(box).count <= 65)
            #expect(try ckpt("job", "many", ids[69]).stdout == "70\n")
            #expect(try ckpt("job", "many", ids[0]).status == 125)
            #expect(Int(try box.sh("ls /.ckpt/job | wc -l"))! <= 65)
        }
    }

    /// Whoever is root inside may put anything where the output goes; that harms nothing but the output.
    @Test func outputFilesThatAreTamperedWith() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("tampered")
            let text = """
                echo first; until test -e /root/go; do sleep 0.02; done
                head -c 300000 /dev/zero | tr '\\0' x; exit 4
                """
            for trick in ["ln -s /etc/passwd", "mkfifo", "mkdir", "ln -s /dev/full", "ln -s /dev/zero"] {
                let id = try start(box, text)
                #expect(try eventually { try ckpt("job", "tampered", id).stdout == "first\n" })
                let before = try box.sh("md5sum < /etc/passwd")
                try box.sh("cd /.ckpt/job && rm \(id).1.0 && \(trick) \(id).1.0; touch /root/go")
                let end = try ckpt("job", "--follow", "tampered", id, deadline: 30)
                #expect(end.status == 4, "\(trick): \(end)")
                #expect(end.stdout == "", "\(trick): \(end)")
                #expect(try jobs(box).first { $0.id == id }?.truncated == true, "\(trick)")
                #expect(try box.sh("rm -f /root/go; md5sum < /etc/passwd") == before)
            }
            #expect(try box.exec("true").status == 0)
        }
    }

    @Test func runInTheBackground() throws {
        try withCkpt { ckpt in
            let words = try ckpt.ok("run", "-d", "--name", "back", "--shell", "echo $0; exit 9").line.split(
                separator: " ")
            #expect(words.count == 2 && words[0] == "back")
            let end = try ckpt("job", "-f", "back", String(words[1]))
            #expect(end.status == 9 && end.stdout == "/bin/bash\n", "\(end)")
            #expect(try ckpt("run", "-d", "--rm", "--", "true").status == 2)
            let body = #"{"id": "\#(words[1])", "argv": ["true"]}"#
            let target = "http://ckpt/v1/sandboxes/back/exec"
            let taken = try run(["curl", "-s", "--unix-socket", ckpt.socket, "-d", body, target])
            #expect(taken.stdout.contains("name_taken"), "exec took the id of a job: \(taken)")
            let other = try ckpt("run", "--rm", "--max-output", "4", "--", "echo", "cut off")
            #expect(other.status == 0 && other.stdout == "cut ", "\(other)")
        }
    }

    @Test func textForAShell() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("shell")
            let text = try ckpt(
                "exec", "--shell", "shell", "cd /usr && echo ${BASH_VERSION:+bash} $PWD; exit 5")
            #expect(text.status == 5 && text.stdout == "bash /usr\n", "\(text)")
            let post = { (body: String) in
                try run([
                    "curl", "-s", "--unix-socket", ckpt.socket, "-d", body,
                    "http://ckpt/v1/sandboxes/shell/exec",
                ])
            }
            let list = try post(#"{"command": ["echo", "a b"]}"#)
            #expect(
                try JSONDecoder().decode(ExecResult.self, from: list.stdoutData).stdout == "a b\n", "\(list)")
            let string = try post(#"{"command": "echo a  b | tr a-z A-Z"}"#)
            #expect(try JSONDecoder().decode(ExecResult.self, from: string.stdoutData).stdout == "A B\n")
            #expect(try post(#"{"command": "true", "argv": ["true"]}"#).stdout.contains("bad_value"))
            #expect(try post("{}").stdout.contains("bad_value"))
            // Without bash it is /bin/sh.
            try box.sh("cp /bin/bash /root/kept && rm /bin/bash")
            #expect(try ckpt("exec", "--shell", "shell", "echo $0").line == "/bin/sh")
        }
    }

    @Test func outputLimits() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("limits")
            let text =
                "head -c 3000000 /dev/zero | tr '\\0' o; head -c 9 /dev/zero | tr '\\0' e >&2; echo > /root/end; exit 3"
            for json in [false, true] {
                let flags = ["exec", "--max-output", "10"] + (json ? ["--json"] : [])
                let result = try ckpt.call(flags + ["limits", "--", "bash", "-c", text])
                #expect(result.status == 3, "\(result)")
                try box.sh("rm /root/end")
                if json {
                    let answer = try JSONDecoder().decode(ExecResult.self, from: result.stdoutData)
                    #expect(answer.truncated && answer.stdout == "oooooooooo" && answer.stderr == "eeeeeeeee")
                } else {
                    #expect(
                        result.stdout == "oooooooooo" && result.stderr.hasPrefix("eeeeeeeee"), "\(result)")
                }
            }
            let whole = try ckpt.json(ExecResult.self, ["exec", "limits", "--", "echo", "all"])
            #expect(!whole.truncated && whole.stdout == "all\n")
            let much = try ckpt.json(
                ExecResult.self,
                ["exec", "limits", "--", "bash", "-c", "head -c 40000000 /dev/zero | tr '\\0' x"])
            #expect(much.truncated && much.stdout?.utf8.count == 32 << 20 && much.exitCode == 0)
            #expect(try ckpt("exec", "--max-output", "many", "limits", "--", "true").status == 2)
        }
    }
}
