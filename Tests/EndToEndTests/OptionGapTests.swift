import Foundation
import Glibc
import Messages
import Testing

/// Options that mean what docker's mean in their corners too.
@Suite struct OptionGapTests {
    @Test func hostNamesAreCalledWhatTheyAre() throws {
        try withCkpt { ckpt in
            let refused = try ckpt("create", "box", "--hostname", "-x y")
            expectRefusal(refused, status: 2, names: ["--hostname", "host name"], hint: false)
            #expect(!refused.stderr.contains("sandbox's name is"), "\(refused)")
            #expect(try ckpt.create("box", "--hostname", "db.example").sh("hostname") == "db.example")
        }
    }

    @Test func workingDirectoryIsMade() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("box", "--workdir", "/srv/app/deep")
            #expect(try box.sh("pwd; stat -c '%a %u' . .. | xargs") == "/srv/app/deep\n755 0 755 0")
            try box.sh("touch here")
            let snapshot = try box.save()
            #expect(try ckpt.fork(snapshot)[0].sh("pwd; ls") == "/srv/app/deep\nhere")
            try ckpt.ok("reset", "box")
            #expect(try box.sh("pwd; ls") == "/srv/app/deep")
            #expect(try ckpt.ok("run", "--rm", "-w", "/made/at/once", "--", "pwd").line == "/made/at/once")
            for place in ["/etc/passwd", "/proc/nothing"] {
                expectRefusal(try ckpt("create", "no", "--workdir", place), names: ["--workdir \(place)"])
            }
            #expect(try ckpt.sandboxes().contains { $0.name == "no" } == false, "a refusal leaves nothing")
        }
    }

    @Test func emptyEntrypointIsNone() throws {
        try withCkpt { ckpt in
            let one = try ckpt.ok("run", "--rm", "--entrypoint", "echo", "--", "hello")
            #expect(one.line == "hello")
            for none in [["--entrypoint", ""], ["--entrypoint="]] {
                let result = try ckpt.call(["run", "--rm"] + none + ["--", "echo", "hello"])
                #expect(result.status == 0 && result.line == "hello", "\(result)")
            }
        }
    }

    @Test func moreProcessorsThanThereAreAreRefused() throws {
        try withCkpt { ckpt in
            let count = sysconf(Int32(_SC_NPROCESSORS_ONLN))
            _ = try ckpt.create("box", "--cpus", "\(count)")
            let range = "from 0.01 to \(count)"
            expectRefusal(try ckpt("create", "no", "--cpus", "\(count).5"), names: ["--cpus", range])
            expectRefusal(try ckpt("create", "no", "--cpus", "\(count * 100 + 1)%"), names: [range])
            expectRefusal(try ckpt("update", "box", "--cpus", "\(count + 1)"), names: [range])
            // Memory beyond the machine's is not: as with docker.
            #expect(try ckpt("update", "box", "--memory", "100t").status == 0)
        }
    }

    @Test func limitsAreLifted() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create(
                "box", "--memory", "64m", "--memory-swap", "64m", "--pids-limit", "20", "--cpus", "0.5",
                "--cpu-shares", "100", "--cpuset-cpus", "0", "--best-effort")
            let many = "for i in $(seq 30); do sleep 5 & done; jobs -p | wc -l; kill $(jobs -p)"
            #expect(try box.exec("bash", "-c", many).line != "30", "the limit holds")
            try ckpt.ok(
                "update", "box", "--lift", "memory", "--lift", "pids-limit", "--lift", "cpus", "--lift",
                "cpu-shares",
                "--lift", "cpuset-cpus")
            #expect(try box.info().spec.limits.isEmpty)
            #expect(try box.sh(many) == "30")
            #expect(try box.sh("head -c 100000000 /dev/zero | tail -c 100000000 | wc -c") == "100000000")
            #expect(try box.sh("nproc") == "\(sysconf(Int32(_SC_NPROCESSORS_ONLN)))")
            // It stays so, and the snapshot from before has what it had.
            let lifted = try box.save()
            try box.restore(lifted)
            #expect(try box.sh(many) == "30" && box.info().spec.limits.isEmpty)
            #expect(try ckpt("update", "box", "--lift", "nothing").status == 2)
            #expect(try ckpt("update", "box").status == 2)
        }
    }

    @Test func waitTellsOfTheMainCommand() throws {
        try withCkpt { ckpt in
            let printed = try ckpt.ok(
                "run", "-d", "--name", "service", "--", "bash", "-c",
                "until test -e /root/go; do sleep 0.02; done; exit 7")
            #expect(printed.line == "service main")
            let waiting = try ckpt.start("wait", "service")
            let box = Sandbox(ckpt: ckpt, name: "service")
            let snapshot = try box.save()
            try box.restore(snapshot)
            #expect(waiting.isRunning)
            try box.sh("touch /root/go")
            let ended = waiting.wait()
            #expect(ended.status == 7 && ended.stdout == "7\n", "\(ended)")
            #expect(try ckpt("wait", "service").status == 7, "as often as one asks")
            // Where it is taken back the command runs again; where the sandbox ends with it, that is said.
            try box.restore(snapshot)
            let again = try ckpt.start("wait", "service")
            try ckpt.ok("kill", "service")
            let killed = again.wait()
            #expect(killed.status == 137 && killed.stdout == "137\n", "\(killed)")
        }
    }
}
