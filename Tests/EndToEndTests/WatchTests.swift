import Foundation
import Glibc
import Messages
import Testing

/// Waiting for ends, and looking at what runs.
@Suite struct WatchTests {
    @Test func waiting() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("ends")
            let job = try ckpt.ok(
                "exec", "-d", "ends", "--", "bash", "-c",
                "until test -e /root/go; do sleep 0.02; done; exit 6"
            ).line
            let forJob = try ckpt.start("wait", "ends", job)
            let forBox = try ckpt.start("wait", "ends")
            let snapshot = try box.save()
            try box.restore(snapshot)
            #expect(forJob.isRunning && forBox.isRunning, "a restore ended the waiting")
            try box.sh("touch /root/go")
            let ended = forJob.wait()
            #expect(ended.status == 6 && ended.stdout == "6\n", "\(ended)")
            #expect(forBox.isRunning)
            try ckpt.ok("kill", "ends")
            let killed = forBox.wait()
            #expect(killed.status == 137 && killed.stdout == "137\n", "\(killed)")
            let again = try ckpt("wait", "ends", "--json")
            let result = try JSONDecoder().decode(WaitResult.self, from: again.stdoutData)
            #expect(again.status == 137 && result.ended && result.state == .stopped)

            try box.restore(snapshot)
            let forRemoved = try ckpt.start("wait", "ends", "--json")
            usleep(200_000)
            try ckpt.ok("rm", "-f", "ends")
            let removed = forRemoved.wait()
            #expect(removed.status == 137, "\(removed)")
            #expect(try JSONDecoder().decode(WaitResult.self, from: removed.stdoutData).state == nil)
            expectRefusal(try ckpt("wait", "ends"), names: ["ends"])

            let dies = try ckpt.create("dies")
            kill(try #require(try dies.info().pid), SIGKILL)
            let dead = try ckpt("wait", "dies", "--json")
            let found = try JSONDecoder().decode(WaitResult.self, from: dead.stdoutData)
            #expect(dead.status == 137 && found.state == .dead && found.reason != nil, "\(dead)")
        }
    }

    @Test func processes() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("busy")
            let spin = try ckpt.ok(
                "exec", "-d", "--user", "nobody", "busy", "--", "sh", "-c", "while :; do :; done"
            ).line
            let job = try #require(
                try ckpt.json(JobList.self, ["jobs", "busy"]).jobs.first { $0.id == spin })
            let list = try ckpt.json(ProcessTable.self, ["top", "busy"]).processes
            #expect(list.map(\.pid) == list.map(\.pid).sorted())
            let first = try #require(list.first)
            #expect(
                first.pid == 1 && first.parent == 0 && first.command.contains("ckpt-init")
                    && first.user == "root")
            #expect(first.hostPid == (try box.info().pid))
            let spinning = try #require(list.first { $0.pid == job.pid })
            #expect(spinning.user == "nobody" && spinning.uid == 65534 && spinning.parent == 1)
            #expect(
                spinning.command == "sh -c while :; do :; done" && spinning.state == "R"
                    && spinning.threads == 1)
            #expect(spinning.cpuPercent > 5 && spinning.rssBytes > 100_000, "\(spinning)")
            #expect(abs(spinning.started - Date().timeIntervalSince1970) < 60)
            let printed = try ckpt.ok("top", "busy")
            #expect(printed.lines.count == list.count + 1 && printed.lines[0].hasPrefix("PID  PPID  USER"))
            #expect(try ckpt("top", "--interval", "99", "busy").status == 2)
            try ckpt.ok("kill", "busy")
            expectRefusal(try ckpt("top", "busy"), names: ["busy", "stopped"])
        }
    }

    @Test(.enabled(if: Machine.has("script"), "needs script(1)")) func processesOnATerminal() throws {
        try withCkpt { ckpt in
            _ = try ckpt.create("live")
            for key in ["q", "\u{3}"] {
                let command =
                    "stty -a > \(ckpt.root)/before; \(Ckpt.binary) top --interval 0.1 live; echo code $?; stty -a > \(ckpt.root)/after"
                let watching = try RunningCommand(
                    ["script", "-qec", command, "/dev/null"], environment: ckpt.environment, stdin: nil)
                // Shown more than once: it refreshes.
                #expect(
                    eventually { watching.output.components(separatedBy: "COMMAND").count > 3 },
                    "\(watching.output)")
                watching.write(key)
                let end = watching.wait()
                #expect(
                    end.stdout.contains("\u{1B}[?1049l\u{1B}") || end.stdout.contains("\u{1B}[?1049l"),
                    "\(end)")
                #expect(end.stdout.contains("code 0"), "\(end)")
                let before = try String(contentsOfFile: "\(ckpt.root)/before", encoding: .utf8)
                #expect(try String(contentsOfFile: "\(ckpt.root)/after", encoding: .utf8) == before)
            }
        }
    }
}
