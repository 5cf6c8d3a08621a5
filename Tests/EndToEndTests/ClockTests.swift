import Foundation
import Testing

/// A sandbox's clocks stand still while it is saved: nothing in it can tell how long a snapshot lay there.
@Suite struct ClockTests {
    /// What a process asks for to know the time: CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW and uptime.
    private static let clocks =
        "print(*[time.clock_gettime(c) for c in (1, 7, 4)], open('/proc/uptime').read().split()[0])"

    @Test func clocksGoOnWhereTheyStood() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("clocks")
            try box.startPython()
            try box.say("put 'import time'")
            /// The clocks as a process that lived through everything sees them, then as a fresh one does.
            func read(_ box: Sandbox) throws -> [Double] {
                let old = try box.say("ask \"\(Self.clocks)\"")
                let new = try box.ckpt.succeed(
                    ["exec", box.name, "--", "/usr/bin/python3", "-c", "import time; \(Self.clocks)"]).line
                let values = (old + " " + new).split(separator: " ").compactMap { Double($0) }
                try #require(values.count == 8, "\(old) \(new)")
                return values
            }
            let clock = ContinuousClock()
            let began = clock.now
            let before = try read(box)
            let snapshot = try box.save("--stop")
            let lived = began.duration(to: clock.now)
            Thread.sleep(forTimeInterval: 4)
            let resumed = clock.now
            try box.restore(snapshot)
            let forks = try ckpt.fork(snapshot, count: 2)
            for each in [box] + forks {
                let after = try read(each)
                // However slow the machine is, the time in which nothing of it ran must not count.
                let most = (lived + resumed.duration(to: clock.now)) / .seconds(1) + 0.02
                // A time namespace offsets CLOCK_MONOTONIC_RAW like CLOCK_MONOTONIC (time_namespaces(7)).
                for (index, (was, now)) in zip(before, after).enumerated() {
                    #expect(
                        now >= was - 0.02, "clock \(index) of \(each.name) ran backwards: \(was) → \(now)")
                    #expect(
                        now - was <= most, "clock \(index) of \(each.name) leapt: \(was) → \(now)")
                }
                let real = try Double(each.sh("date +%s.%N")) ?? 0
                #expect(abs(real - Date().timeIntervalSince1970) < 2, "CLOCK_REALTIME is the host's")
            }
        }
    }

    @Test func tailFollowsOn() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("tail")
            try box.say("echo one > /root/log; tail -F /root/log > /root/followed 2> /root/tail.err &")
            try box.waitFor("grep -q one /root/followed")
            _ = try box.save()
            try box.sh("echo saved >> /root/log")
            try box.waitFor("grep -q saved /root/followed")
            let snapshot = try box.save()
            try box.restore(snapshot)
            for each in [box] + (try ckpt.fork(snapshot)) {
                try each.sh("echo two >> /root/log")
                try each.waitFor("grep -q two /root/followed")
                #expect(try each.sh("cat /root/tail.err") == "")
            }
        }
    }
}
