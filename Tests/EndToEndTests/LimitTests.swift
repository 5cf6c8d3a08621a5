import Foundation
import Glibc
import Messages
import Testing

/// Limits do what they say, on whatever hierarchy their controller hangs, and go on doing it after a restore and in a fork.
@Suite struct LimitTests {
    /// Checks the same before a save, after a restore and in a fork.
    private func throughout(_ box: Sandbox, _ check: (Sandbox) throws -> Void) throws {
        try check(box)
        let snapshot = try box.save()
        try box.restore(snapshot)
        try check(box)
        try check(try box.ckpt.fork(snapshot)[0])
    }

    private func statistics(_ box: Sandbox) throws -> SandboxStatistics {
        struct List: Decodable { let statistics: [SandboxStatistics] }
        return try #require(
            try box.ckpt.json(List.self, ["stats", box.name, "--interval", "0.01"]).statistics.first)
    }

    @Test func processorTime() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("hog", "--cpus", "0.2", "--cpu-shares", "512")
            try throughout(box) { box in
                #expect(try statistics(box).cpu.limit == 0.2)
                let before = try #require(try statistics(box).cpu.throttledPeriods)
                try box.sh("timeout 0.4 sh -c 'while :; do :; done' || true")
                let after = try statistics(box)
                #expect(after.cpu.throttledPeriods ?? 0 > before)
                #expect(after.cpu.throttledNs ?? 0 > 0 && after.cpu.usageNs > 0)
                #expect(try box.info().spec.limits.cpuShares == 512)
            }
        }
    }

    @Test func memoryAndItsEnd() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("bomb", "--memory", "48m", "--memory-swap", "48m")
            try box.say("witness=lives")
            try throughout(box) { box in
                let before = try box.info().oomKills
                #expect(before != nil)
                let arguments = [
                    "exec", box.name, "--json", "--", "python3", "-c", "x = bytearray(200 << 20)",
                ]
                let result = try JSONDecoder().decode(ExecResult.self, from: ckpt.call(arguments).stdoutData)
                #expect(result.oomKilled && result.exitCode == 137 && result.signal == SIGKILL)
                let after = try #require(try box.info().oomKills)
                #expect(after > before!)
                let memory = try statistics(box).memory
                #expect(memory.source == .cgroup && memory.limitBytes == 48 << 20)
                // The sandbox and its session are there, and what fits goes on working.
                #expect(try box.say("echo $witness") == "lives")
                let killed = try box.exec("bash", "-c", "kill -9 $$")
                #expect(killed.status == 137 && !killed.stderr.contains("memory"), "\(killed)")
            }
        }
    }

    @Test func processes() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("bomb", "--pids-limit", "24")
            try throughout(box) { box in
                let forks = """
                    import os, time
                    made = []
                    try:
                        while len(made) < 500:
                            pid = os.fork()
                            if pid == 0: time.sleep(60); os._exit(0)
                            made.append(pid)
                    except BlockingIOError: print("refused after", len(made))
                    for pid in made: os.kill(pid, 9)
                    """
                let said = try box.sh("python3 -c '\(forks)'")
                let count = said.split(separator: " ").last.flatMap { Int($0) } ?? 0
                #expect(said.hasPrefix("refused after") && (15...22).contains(count), "\(said)")
                #expect(try statistics(box).pids.limit == 24)
                #expect(try box.sh("echo on") == "on")
            }
        }
    }

    @Test func cpusAndNodes() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("pinned", "--cpuset-cpus", "1", "--cpuset-mems", "0")
            try box.say("true")
            try throughout(box) { box in
                let ask = "python3 -c 'import os; print(sorted(os.sched_getaffinity(0)))'"
                let seen = try box.sh(ask)
                #expect(seen == "[1]")
                #expect(try box.say(ask) == "[1]", "a process that was restored, and its children")
                #expect(try box.sh("grep Mems_allowed_list /proc/self/status").hasSuffix("\t0"))
            }
            expectRefusal(
                try ckpt("create", "wrong", "--cpuset-cpus", "100"), names: ["--cpuset-cpus", "100"])
        }
    }

    /// Raw input and output, for which v1 throttles reads and direct writes only; v2 is tried in scripts/test-cgroup2.
    @Test(.enabled(if: Machine.has("losetup"), "needs losetup")) func inputAndOutput() throws {
        let image = "/tmp/ckpt-e2e-io-\(getpid())"
        let made = try run(["bash", "-ec", "truncate -s 8M $1; losetup --find --show $1", "bash", image])
        defer { unlink(image) }
        try #require(made.status == 0, "\(made)")
        let disk = made.line
        defer { _ = try? run(["losetup", "-d", disk]) }
        try withCkpt { ckpt in
            let box = try ckpt.create("slow", "--device", disk, "--io-max", "\(disk) rbps=2mb wbps=8mb")
            try throughout(box) { box in
                #expect(try box.info().spec.limits.io.count == 1)
                // However slow the machine, 3 MiB take more than a second where 2 MB a second are allowed.
                let reading = "dd if=\(disk) of=/dev/null bs=64k count=48 iflag=direct status=none"
                let span = try box.sh("a=${EPOCHREALTIME/./}; \(reading); echo $((${EPOCHREALTIME/./} - a))")
                #expect(try #require(Int(span)) > 1_000_000)
            }
            expectRefusal(
                try ckpt("create", "wrong", "--io-max", "/dev/null rbps=1mb"),
                names: ["--io-max", "/dev/null"])
        }
    }

    @Test func groupsAreTheSandboxsOwn() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("inside", "--memory", "64m", "--pids-limit", "50")
            try throughout(box) { box in
                let lines = try box.sh("cat /proc/self/cgroup").split(separator: "\n")
                #expect(lines.allSatisfy { $0.hasSuffix(":/") }, "\(lines)")
            }
            let groups = Leftovers.cgroups(of: ckpt)
            #expect(groups.count >= 2, "\(groups)")
            let plain = try ckpt.create("plain").sh("cat /proc/self/cgroup")
            #expect(plain.split(separator: "\n").allSatisfy { $0.hasSuffix(":/") }, "\(plain)")
            // A killed server leaves them to the next, which knows them again.
            let server = try #require(ckpt.serverPID)
            kill(server, SIGKILL)
            #expect(try statistics(box).memory.limitBytes == 64 << 20)
            try ckpt.ok("rm", "-f", "inside", "inside-1")
            #expect(eventually { Leftovers.groups(named: "inside", of: ckpt).isEmpty })
        }
    }
}

/// Sandboxes that stand still, give memory back and change their limits.
@Suite struct HoldingBackTests {
    /// Each round leaves a trace, so that not even a millisecond goes by unseen.
    private let counter = "while :; do echo >> /root/count; done"

    @Test func pauseStopsEverythingUntilUnpause() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("still")
            try ckpt.ok("exec", "-d", "still", "--", "bash", "-c", counter)
            try box.waitFor("test -s /root/count")
            try ckpt.ok("pause", "still")
            #expect(try box.info().state == .paused)
            let count = { try ckpt.ok("read", "still", "/root/count").stdoutData.count }
            let before = try count()
            usleep(100_000)
            #expect(try count() == before)
            expectRefusal(try box.exec("true"), names: ["paused", "ckpt unpause still"])
            // A server that starts anew finds it as it was.
            try ckpt.ok("serve", "--stop")
            #expect(try box.info().state == .paused)
            let snapshot = try box.save()
            #expect(try box.info().state == .paused, "a save ends the pause")
            #expect(try count() == before, "a save lets it run")
            #expect(try ckpt.fork(snapshot)[0].sh("echo runs") == "runs")
            try ckpt.ok("unpause", "still")
            #expect(try box.info().state == .running)
            let after = try count()
            #expect(try eventually { try count() != after })
            try ckpt.ok("pause", "still")
            try box.restore(snapshot)
            #expect(try box.sh("echo again") == "again")
            try ckpt.ok("pause", "still")
            try ckpt.ok("rm", "-f", "still")
        }
    }

    @Test func memoryIsGivenBackAndLimitsChange() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("thrifty", "--memory", "256m")
            try box.sh("head -c 50000000 /dev/zero > /root/file; sync; cat /root/file > /dev/null")
            let result = try ckpt.json(ReclaimResult.self, ["reclaim", "thrifty"])
            #expect(result.reclaimedBytes > 20_000_000, "\(result)")
            #expect(try box.sh("cat /root/file | wc -c") == "50000000")
            try ckpt.ok("update", "thrifty", "--memory", "64m", "--memory-swap", "64m", "--pids-limit", "40")
            let limits = try box.info().spec.limits
            #expect(limits.memory?.bytes == 64 << 20 && limits.pids == 40)
            try box.restore(try box.save())
            #expect(try box.exec("python3", "-c", "x = bytearray(200 << 20)").status == 137)
            try ckpt.ok("update", "thrifty", "--memory", "512m", "--memory-swap", "512m")
            #expect(try box.exec("python3", "-c", "x = bytearray(200 << 20)").status == 0)
        }
    }
}
