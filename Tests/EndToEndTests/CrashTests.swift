import Foundation
import Messages
import Testing

/// A process that is about to die is saved first, and dies all the same.
@Suite struct CrashTests {
    private func crash(_ ckpt: Ckpt) throws -> SnapshotInfo {
        #expect(eventually { ((try? ckpt.tree().snapshots) ?? []).contains { $0.crash != nil } })
        return try #require(try ckpt.tree().snapshots.first { $0.crash != nil })
    }

    private func expectInstant(_ ckpt: Ckpt, _ snapshot: SnapshotInfo) throws {
        let words = [
            "bt", "info locals", "p plates", "thread apply all bt",
        ]
        let gdb = try ckpt.call(["debug", snapshot.tags[0]] + words.flatMap { ["--exec", $0] })
        for answer in [
            "break_a_plate (plates=13) at ", "threads.c:34", "left = 12", "main (count=2", "cook (",

        ] {
            #expect(gdb.stdout.contains(answer), "gdb does not say \(answer) in:\n\(gdb.stdout)\(gdb.stderr)")
        }
    }

    @Test func aCommandThatCrashesIsSavedBeforeItIsGone() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("plain")
            try box.compile("threads.c", "-g -O0 -pthread")
            // Without the option nothing is saved.
            #expect(try box.exec("/root/threads", "crash").status == 139)
            #expect(try ckpt.tree().snapshots.isEmpty)
            let run = try box.exec("/root/threads", "crash", options: ["--save-on-crash"])
            #expect(run.status == 139)
            #expect(run.stdout == "ready\n")
            let snapshot = try crash(ckpt)
            let what = try #require(snapshot.crash)
            #expect(what.signal == 11 && what.address == 0x1234 && what.command == "threads")
            #expect(snapshot.tags == ["crash-plain-\(what.pid)"])
            #expect(run.stderr.contains("ckpt debug \(snapshot.tags[0])"), "\(run.stderr)")
            #expect(snapshot.message?.contains("signal 11 (Segmentation fault) at 0x1234") == true)
            try expectInstant(ckpt, snapshot)
            // The core file knows the signal, and its thread comes first.
            let core = "/tmp/ckpt-e2e-crash-\(UUID().uuidString)"
            defer { try? FileManager.default.removeItem(atPath: core) }
            try ckpt.ok("core", snapshot.id, "-o", core)
            let gdb = try run_([
                "gdb", "-q", "-batch", "-ex", "p $_siginfo.si_signo", "-ex",
                "p $_siginfo._sifields._sigfault.si_addr", "-c", core,
            ])
            #expect(gdb.stdout.contains("terminated with signal SIGSEGV"), "\(gdb.stdout)\(gdb.stderr)")
            #expect(gdb.stdout.contains("= (void *) 0x1234"), "\(gdb.stdout)\(gdb.stderr)")
            // The sandbox is as it was, and goes on.
            #expect(try box.sh("pgrep -x threads | wc -l") == "0")
            _ = try box.save()
            // Back at the crash the process dies for good, and nothing is saved a second time.
            try box.restore(snapshot.id)
            try box.waitFor("! pgrep -x threads")
            #expect(try ckpt.tree().snapshots.filter { $0.crash != nil }.count == 1)
        }
    }

    @Test func aCrashInTheFirstMomentsIsSavedAndNoneIsMadeUp() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("early")
            let watch = ["--save-on-crash"]
            for options in [watch, watch, watch, watch + ["--timeout", "60"], watch + ["--user", "nobody"]] {
                let before = try ckpt.tree().snapshots.count
                let run = try box.exec("sh", "-c", "kill -SEGV $$", options: options)
                #expect(run.status == 139)
                let made = try ckpt.tree().snapshots
                #expect(made.count == before + 1, "nothing was saved with \(options)")
                #expect(run.stderr.contains("ckpt debug crash-early-"), "\(run.stderr)")
            }
            // What ends badly without a crash has no snapshot, and is not given an earlier one.
            let run = try box.exec("sh", "-c", "exit 139", options: watch)
            #expect(run.status == 139 && !run.stderr.contains("ckpt debug"), "\(run.stderr)")
            // A program that cannot be started is said to be so, as without the option.
            #expect(try box.exec("no-such-program", options: watch).status == 127)
            #expect(try box.exec("true", options: watch).status == 0)
        }
    }

    @Test func aWatchedSandboxSavesEveryCrashInIt() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("watched", "--save-on-crash")
            try box.compile("threads.c", "-g -O0 -pthread")
            try box.say("sleep 1000 & tail=$!", "held")
            // Saves, restores and forks get on with what is traced.
            let first = try box.save()
            try box.restore(first)
            let twin = try ckpt.fork(first)[0]
            // A grandchild in a session, and a daemon of a command that is gone.
            try box.say("(setsid /root/threads crash > /root/out 2>&1 &) ; true", "held")
            let snapshot = try crash(ckpt)
            #expect(snapshot.sandbox == "watched")
            try expectInstant(ckpt, snapshot)
            try box.waitFor("! pgrep -x threads")
            #expect(try box.say("kill -0 $tail && echo alive", "held") == "alive")
            // Signals that are meant, and those with a handler, are no crashes.
            try box.sh(
                "sleep 1000 & kill -TERM $!; wait $!; bash -c 'trap \"exit 3\" SEGV; kill -SEGV $$'; true")
            #expect(try twin.exec("sh", "-c", "kill -ABRT $$").status == 134)
            #expect(eventually { ((try? ckpt.tree().snapshots) ?? []).filter { $0.crash != nil }.count == 2 })
            #expect(
                try ckpt.tree().snapshots.filter { $0.crash != nil }.map(\.sandbox).sorted()
                    == ["watched", twin.name].sorted())
            let info = try box.info()
            #expect(info.spec.saveOnCrash)
        }
    }

    /// `run` is the name of a constant above.
    private func run_(_ words: [String]) throws -> CommandResult { try run(words) }
}
