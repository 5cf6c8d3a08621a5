import Foundation
import Glibc
import Messages
import MetricsText
import Testing

/// What the server tells of what happens, with the real kernel behind it.
@Suite struct EventTests {
    private func events(_ ckpt: Ckpt, _ options: String...) throws -> [Event] {
        try ckpt.succeed(["events", "--json"] + options).lines.map {
            try JSONDecoder().decode(Event.self, from: Data($0.utf8))
        }
    }

    @Test func everyOperationTellsOfItself() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("main")
            let first = try box.save("-t", "one", "-m", "the first")
            try box.restore("one")
            _ = try ckpt.fork("one", count: 2, name: "try")
            try ckpt.ok("pause", "try-1")
            try ckpt.ok("unpause", "try-1")
            try ckpt.ok("kill", "try-1")
            try ckpt.ok("rm", "try-1")
            let stopped = try ckpt.ok("save", "try-2", "--stop").line
            try ckpt.ok("rm", "-f", "try-2")
            try ckpt.ok("reset", "main")
            try ckpt.ok("delete", stopped)
            try ckpt.ok("gc")
            #expect(try ckpt("restore", "main", "nonsense").status == 125)
            #expect(try ckpt("exec", "main", "--", "sh", "-c", "echo secret-word; exit 3").status == 3)
            let all = try events(ckpt)
            #expect(all.map(\.id) == all.map(\.id).sorted() && Set(all.map(\.id)).count == all.count)
            let now = Date().timeIntervalSince1970
            #expect(all.allSatisfy { abs($0.time - now) < 600 })
            #expect(
                all.filter { $0.kind != .progress }.map(\.kind) == [
                    .started, .created, .saved, .restored, .forked, .paused, .unpaused, .exited, .removed,
                    .saved, .exited, .removed, .reset, .deleted, .gc, .failed,
                ])
            let saved = try #require(all.first { $0.kind == .saved })
            #expect(saved.sandbox == "main" && saved.snapshot == first && saved.message == "the first")
            #expect(saved.durationMs ?? 0 > 0 && saved.timings?.frozenMs ?? 0 > 0 && saved.bytes ?? 0 > 0)
            let forked = try #require(all.first { $0.kind == .forked })
            #expect(forked.names == ["try-1", "try-2"] && forked.snapshot == first && forked.count == 2)
            let exits = all.filter { $0.kind == .exited }
            #expect(exits.map(\.operation) == ["kill", "save"] && exits.map(\.signal) == [9, 9])
            #expect(exits.map(\.exitCode) == [137, 137] && exits.last?.snapshot == stopped)
            let deleted = try #require(all.first { $0.kind == .deleted })
            #expect(deleted.names == [stopped] && deleted.bytes ?? 0 > 0)
            #expect(all.last?.operation == "restore" && all.last?.error?.code == .unknownSnapshot)

            #expect(
                try events(ckpt, "--sandbox", "try-2").map(\.kind) == [.forked, .saved, .exited, .removed])
            #expect(try events(ckpt, "--kind", "gc", "--kind", "reset").map(\.kind) == [.reset, .gc])
            #expect(try events(ckpt, "--since", "\(all[all.count - 2].id)").map(\.id) == [all.last!.id])
            let page = try ckpt.ok("events")
            #expect(page.lines.count == all.count && page.stdout.contains("try-1, try-2"))
            #expect(try ckpt("events", "--kind", "nonsense").status == 2)
            try checkLog(ckpt, first)
        }
    }

    /// One line for each operation, with its fields and without what ran.
    private func checkLog(_ ckpt: Ckpt, _ snapshot: String) throws {
        let log = try String(contentsOfFile: "\(ckpt.root)/server.log", encoding: .utf8)
        #expect(!log.contains("secret-word"), "the log holds what a command was")
        let lines = log.split(separator: "\n")
        let field = #/(?:^|\ )([a-z]+)=("(?:[^"\\]|\\.)*"|[^\ "]+)/#
        for line in lines {
            let fields = line.matches(of: field).map { String($0.output.1) }
            #expect(fields.prefix(2) == ["time", "level"] && fields.last == "msg", "\(line)")
        }
        let save = try #require(lines.first { $0.contains(" operation=save ") })
        #expect(save.contains(" level=info ") && save.contains(" sandbox=main snapshot=\(snapshot) ms="))
        let restores = lines.filter { $0.contains(" operation=restore ") }
        #expect(restores.count == 2 && restores[1].contains(" level=warning "))
        #expect(restores[1].contains(" code=unknown_snapshot "))
        #expect(!log.contains("operation=attach"), "commands are for the level debug")
    }

    @Test func deathsAndKillsAreSeenThoughNobodyAsks() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("dies", "--memory", "48m", "--memory-swap", "48m")
            let snapshot = try box.save()
            let pid = try #require(try box.info().pid)
            let last = try #require(try events(ckpt).last?.id)
            let watching = try ckpt.start(
                "events", "--follow", "--since", "\(last)", "--kind", "died", "--kind", "oom")
            defer { watching.signal(SIGTERM) }
            // A job: nobody waits for its end, who could notice why it came.
            try ckpt.ok("exec", "-d", "dies", "--", "python3", "-c", "x = bytearray(200 << 20)")
            #expect(eventually { watching.output.contains("oom  dies") }, "\(watching.output)")
            kill(pid, SIGKILL)
            #expect(eventually { watching.output.contains("died  dies") }, "\(watching.output)")
            let told = try events(ckpt, "--since", "\(last)", "--sandbox", "dies")
            #expect(told.map(\.kind) == [.oom, .died])
            #expect(told.first?.count == 1 && told.first?.message?.contains("48m") == true)
            let died = try #require(told.last)
            #expect(died.snapshot == snapshot && died.signal == 9 && died.exitCode == 137)
            let log = try String(contentsOfFile: "\(ckpt.root)/server.log", encoding: .utf8)
            #expect(log.contains("level=warning operation=died sandbox=dies "))
            #expect(log.contains("level=warning operation=oom sandbox=dies "))
        }
    }

    @Test func mergedLayersAreToldOf() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("long")
            for number in 1...10 {
                try box.sh("echo \(number) > /root/\(number)")
                _ = try box.save()
                // What comes after a restore is a layer of its own.
                try box.restore()
            }
            #expect(eventually { (try? events(ckpt, "--kind", "compaction"))?.isEmpty == false })
            let merge = try #require(try events(ckpt, "--kind", "compaction").first)
            #expect(merge.count ?? 0 > 1 && merge.snapshot != nil)
        }
    }

    /// A following reader goes on with the server that comes next.
    @Test func aFollowerOutlivesItsServer() throws {
        try withCkpt { ckpt in
            _ = try ckpt.create("one")
            let watching = try ckpt.start("events", "--follow", "--since", "0", "--kind", "created")
            defer { watching.signal(SIGTERM) }
            #expect(eventually { watching.output.contains("one") })
            try ckpt.ok("serve", "--stop")
            #expect(eventually { watching.errors.contains("has ended") }, "\(watching.errors)")
            _ = try ckpt.create("two")
            #expect(eventually { watching.output.contains("two") }, "\(watching.output)")
        }
    }

    /// What takes long says how far it has come, in events and on a terminal.
    @Test(.enabled(if: Machine.has("script"), "needs script(1)")) func aLongSaveTellsHowFarItIs() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("large")
            try box.startPython()
            try box.say("ask 'import os; big = os.urandom(400 << 20); print(1)'", deadline: 120)
            let command = "\(Ckpt.binary) save large; \(Ckpt.binary) verify --json"
            let shown = try RunningCommand(
                ["script", "-qec", command, "/dev/null"], environment: ckpt.environment
            ).wait(deadline: 120)
            #expect(!shown.stdout.contains("verifying"), "with --json there is no bar")
            let told = try events(ckpt, "--kind", "progress", "--kind", "saved")
            let saved = try #require(told.first { $0.kind == .saved })
            let steps = told.filter { $0.operation == "save" }
            // Only a machine that does it within a moment has nothing to tell.
            try checkArchiveProgress(ckpt, saved.snapshot!)
            if saved.durationMs! > 1000 {
                #expect(steps.contains { $0.sandbox == "large" && $0.progress?.phase == "memory" })
                #expect(Set(steps.compactMap(\.progress?.task)).count == 1)
                #expect(steps.last?.progress?.ended == true)
                #expect(steps.dropLast().allSatisfy { $0.progress?.ended == false })
                let memory = steps.compactMap(\.progress).filter { $0.phase == "memory" }
                #expect(memory.allSatisfy { $0.unit == .bytes && $0.done <= $0.total! })
                #expect(memory.map(\.done) == memory.map(\.done).sorted())
                #expect(shown.stdout.contains("saving large: memory"), "\(shown)")
            }
        }
    }

    /// The same of an archive, out and back in.
    private func checkArchiveProgress(_ ckpt: Ckpt, _ snapshot: String) throws {
        let file = "\(ckpt.root)/large.tar.zst"
        try ckpt.ok("export", snapshot, "-o", file)
        try ckpt.ok("rm", "-f", "large")
        try ckpt.ok("delete", snapshot)
        let clock = ContinuousClock()
        let took = try clock.measure { _ = try ckpt.ok("import", file) }
        unlink(file)
        let told = try events(ckpt, "--kind", "progress")
        for (operation, phase) in [("exportSnapshot", "writing"), ("importSnapshots", "reading")] {
            let steps = told.filter { $0.operation == operation }.compactMap(\.progress)
            if steps.isEmpty, took < .seconds(1) { continue }
            let bytes = steps.filter { $0.phase == phase && $0.unit == .bytes }
            #expect(!bytes.isEmpty, "\(operation): \(steps)")
            #expect(bytes.allSatisfy { $0.total ?? 0 > 400 << 20 }, "\(operation): \(bytes)")
            #expect(bytes.map(\.done) == bytes.map(\.done).sorted() && steps.last?.ended == true)
        }
    }

    @Test(.enabled(if: Machine.has("script"), "needs script(1)"))
    func aLongCollectionCountsWhatItRemoves() throws {
        try withCkpt { ckpt in
            try ckpt.ok("ps")
            let make = """
                import os, sys
                for layer in range(30):
                    directory = f"{sys.argv[1]}/layers/{layer:012x}"
                    os.mkdir(directory)
                    for file in range(4000): os.close(os.open(f"{directory}/{file}", os.O_CREAT))
                """
            let made = try run(["python3", "-c", make, ckpt.root], deadline: 120)
            #expect(made.status == 0, "\(made)")
            let shown = try RunningCommand(
                ["script", "-qec", "\(Ckpt.binary) gc", "/dev/null"], environment: ckpt.environment
            ).wait(deadline: 120)
            #expect(shown.stdout.contains("30 other items"), "\(shown)")
            let told = try events(ckpt, "--kind", "progress", "--kind", "gc")
            let collected = try #require(told.last { $0.kind == .gc })
            #expect(collected.count == 30)
            let steps = told.filter { $0.operation == "collectGarbage" }.compactMap(\.progress)
            // Only a machine that does it within a moment has nothing to tell.
            if collected.durationMs! > 1000 {
                #expect(steps.allSatisfy { $0.unit == .items && $0.total == 30 }, "\(steps)")
                #expect(steps.map(\.done) == steps.map(\.done).sorted())
                #expect(steps.last?.done == 30 && steps.last?.ended == true)
                #expect(shown.stdout.contains("giving space back"), "\(shown)")
                #expect(shown.stdout.contains("of 30 items"), "\(shown)")
            }
        }
    }

    @Test func aCrashIsToldWithItsSnapshot() throws {
        try withCkpt { ckpt in
            _ = try ckpt.create("main")
            let crashed = try ckpt(
                "exec", "--save-on-crash", "main", "--", "sh", "-c", "kill -SEGV $$; true")
            #expect(crashed.status == 139, "\(crashed)")
            let told = try events(ckpt, "--kind", "crashed", "--kind", "saved")
            #expect(told.map(\.kind) == [.saved, .crashed])
            let crash = try #require(told.last)
            #expect(crash.snapshot == told.first?.snapshot && told.first?.operation == "crash")
            #expect(crash.signal == SIGSEGV && crash.exitCode == 139 && crash.sandbox == "main")
            #expect(crash.message?.contains("got signal 11") == true)
        }
    }

    @Test func aNewServerTellsWhatItFoundAndItsNumbersAreLarger() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("lives")
            let gone = try ckpt.create("dies")
            let pid = try #require(try gone.info().pid)
            let last = try #require(try events(ckpt).last)
            try ServerTests.crash(ckpt)
            kill(pid, SIGKILL)
            #expect(eventually { !Leftovers.isAlive(pid) })
            #expect(try box.info().state == .running)
            let told = try events(ckpt)
            #expect(told.allSatisfy { $0.id > last.id })
            #expect(told.contains { $0.kind == .recovered && $0.sandbox == "lives" })
            #expect(told.contains { $0.kind == .died && $0.sandbox == "dies" })
            // Who comes back with a number of the server before is told that it may have missed something.
            let back = try events(ckpt, "--since", "\(last.id)")
            #expect(back.first?.kind == .missed && back.dropFirst().map(\.id) == told.map(\.id))
        }
    }

    @Test(.enabled(if: Machine.has("curl"), "needs curl")) func numbersAfterKnownOperations() throws {
        try withCkpt { ckpt in
            let port = 20_000 + Int(getpid()) % 20_000
            let server = try RunningCommand(
                [
                    Ckpt.binary, "serve", "--metrics-listen", "127.0.0.1:\(port)", "--log-format", "json",
                    "--log-level", "debug",
                ], environment: ckpt.environment)
            #expect(eventually { access(ckpt.socket, F_OK) == 0 }, "\(server.errors)")
            let box = try ckpt.create("main")
            for _ in 1...3 { _ = try box.save() }
            _ = try ckpt.fork("main", count: 2)
            try box.sh("true")
            #expect(try ckpt("save", "absent").status == 125)
            _ = try ckpt.ok("exec", "-d", "main", "--", "sleep", "1000")
            let scraped = try run(["curl", "-sf", "http://127.0.0.1:\(port)/metrics"])
            let numbers = try Exposition(scraped.stdout)
            #expect(numbers["ckpt_operations_total", ["operation": "save", "result": "ok"]] == 3)
            #expect(
                numbers["ckpt_operations_total", ["operation": "save", "result": "unknown_sandbox"]] == 1)
            #expect(numbers["ckpt_operations_total", ["operation": "fork", "result": "ok"]] == 1)
            #expect(numbers["ckpt_operation_duration_seconds_count", ["operation": "save"]] == 4)
            #expect(numbers["ckpt_operation_duration_seconds_sum", ["operation": "save"]]! > 0.001)
            #expect(numbers["ckpt_save_frozen_seconds_count", [:]] == 3)
            #expect(numbers["ckpt_errors_total", ["code": "unknown_sandbox"]]! >= 1)
            #expect(numbers["ckpt_sandboxes", ["state": "running"]] == 3)
            #expect(numbers["ckpt_snapshots", [:]] == 3)
            #expect(numbers["ckpt_jobs", [:]] == 1)
            #expect(numbers["ckpt_operations_total", ["operation": "attach", "result": "ok"]]! >= 1)
            let bytes = ["logical", "stored", "shared"].map { numbers["ckpt_store_bytes", ["kind": $0]]! }
            #expect(bytes[0] > bytes[1] && bytes[1] > 0 && bytes[0] == bytes[1] + bytes[2], "\(bytes)")
            #expect(numbers["process_resident_memory_bytes", [:]]! > 1_000_000)
            #expect(numbers["ckpt_uptime_seconds", [:]]! > 0)
            // The port serves numbers and nothing else.
            let more = try run([
                "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
                "http://127.0.0.1:\(port)/v1/sandboxes",
            ])
            #expect(more.stdout == "404")
            let later = try Exposition(try ckpt.ok("metrics").stdout)
            #expect(later["ckpt_refused_requests_total", ["code": "not_found"]] == 1)
            try checkWithPrometheusClient(scraped.stdout, in: ckpt.root)
            #expect(try ckpt("serve", "--metrics-listen", "nonsense").status == 125)
            try ckpt.ok("rm", "-f", "main", "main-1", "main-2")
            try ckpt.ok("serve", "--stop")
            let ended = server.wait()
            #expect(ended.status == 0, "\(ended)")
            checkLines(ended.stderr)
        }
    }

    /// Prometheus's own Python package reads the same, with every sample in the family that it belongs to.
    private func checkWithPrometheusClient(_ text: String, in directory: String) throws {
        let file = "\(directory)/metrics.txt"
        try text.write(toFile: file, atomically: false, encoding: .utf8)
        let program = """
            import sys
            from prometheus_client.parser import text_string_to_metric_families
            families = {f.name: f for f in text_string_to_metric_families(open(sys.argv[1]).read())}
            assert {f.type for f in families.values()} == {"counter", "gauge", "histogram"}
            assert all(f.documentation for f in families.values())
            saves = [s.value for s in families["ckpt_operations"].samples
                     if s.labels == {"operation": "save", "result": "ok"}]
            durations = families["ckpt_operation_duration_seconds"]
            buckets = [s for s in durations.samples
                       if s.name.endswith("_bucket") and s.labels["operation"] == "save"]
            assert durations.type == "histogram" and buckets[-1].labels["le"] == "+Inf" and buckets[-1].value == 4
            print(len(families), saves)
            """
        let parsed = try run(["/usr/bin/python3", "-c", program, file])
        #expect(parsed.status == 0 && parsed.stdout.hasSuffix(" [3.0]\n"), "\(parsed)")
    }

    /// In the foreground the log is stderr: JSON here, and of every request.
    private func checkLines(_ log: String) {
        let lines = log.split(separator: "\n").map {
            (try? JSONSerialization.jsonObject(with: Data($0.utf8))) as? [String: Any]
        }
        #expect(lines.allSatisfy { $0?["level"] is String && $0?["msg"] is String }, "\(log)")
        #expect(
            lines.contains { $0?["operation"] as? String == "attach" && $0?["level"] as? String == "debug" })
        #expect(lines.contains { $0?["operation"] as? String == "save" && $0?["ms"] is Double })
    }

    /// What systemd does with a service's stderr, without systemd.
    @Test func aJournalOnStderrGetsPriorities() throws {
        try withCkpt { ckpt in
            let path = "\(ckpt.root)/journal"
            let start = """
                exec 2>"$1"; export JOURNAL_STREAM=$(stat -c %d:%i "$1"); exec "$2" serve --log-to journal
                """
            let server = try RunningCommand(
                ["bash", "-c", start, "bash", path, Ckpt.binary], environment: ckpt.environment)
            #expect(eventually { access(ckpt.socket, F_OK) == 0 })
            #expect(try ckpt("restore", "absent").status == 125)
            try ckpt.ok("serve", "--stop")
            #expect(server.wait().status == 0)
            if access("/run/systemd/journal/socket", F_OK) == 0 { return }
            let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
            #expect(lines.allSatisfy { $0.hasPrefix("<6>time=") || $0.hasPrefix("<4>time=") }, "\(lines)")
            #expect(lines.contains { $0.hasPrefix("<4>") && $0.contains("code=unknown_sandbox") })
        }
    }
}
