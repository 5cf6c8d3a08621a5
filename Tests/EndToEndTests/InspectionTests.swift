import Foundation
import Messages
import Testing

/// What `ckpt inspect` and `ckpt mem` tell, held against a program that knows what it holds.
@Suite struct InspectionTests {
    /// A sandbox with holder.py running, saved as `held`; what the program says about itself comes with it.
    private func withHolder(_ body: (Ckpt, Sandbox, [String: Int]) throws -> Void) throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("box")
            try box.install("holder.py")
            try box.sh("MARK=outside setsid python3 /root/holder.py < /dev/null > /root/out 2>&1 &")
            try box.waitFor("test -e /tmp/holder")
            let lines = try box.sh("cat /tmp/holder").split(separator: "\n").map { $0.split(separator: " ") }
            let facts = Dictionary(uniqueKeysWithValues: lines.map { (String($0[0]), Int($0[1])!) })
            _ = try box.save("-t", "held")
            try body(ckpt, box, facts)
        }
    }

    @Test func everythingIsTold() throws {
        try withHolder { ckpt, _, facts in
            let told = try ckpt.json(Inspection.self, ["inspect", "held"])
            #expect(told.hostname == "box" && told.processes.map(\.pid).first == 1)
            #expect(told.dump.map { $0.pagesWritten > 100 && $0.frozenMs > 0 } == true)
            #expect(told.mounts.contains { $0.mountPoint == "/proc" && $0.type == "proc" })
            #expect(told.namespaces.filter { $0.kind == "pid" }.map(\.own) == [true])
            #expect(told.clocks!.monotonicSeconds > 0)
            let process = try #require(told.processes.first { $0.pid == facts["pid"] })
            let child = try #require(told.processes.first { $0.parent == process.pid })
            #expect(child.session == child.pid && process.session == process.pid)
            checkProcess(process)
            checkFiles(try #require(process.files), facts, process, child)
            checkTimersAndSignals(process)
            let memory = try #require(process.memory)
            #expect(memory.regions!.contains { $0.name == "[stack]" && $0.pages.storedBytes > 0 })
            #expect(
                memory.sharedBytes >= 8192 && memory.pages.zeroBytes > 0 && memory.pages.fileBytes > 1 << 20)
            // Nothing but the libraries' unchanged pages is outside of the snapshot.
            let code = try #require(memory.regions!.first { $0.permissions == "r-xp" && $0.kind == "file" })
            #expect(code.name == process.executable && code.pages.fileBytes > 0)
        }
    }

    private func checkProcess(_ process: InspectedProcess) {
        #expect(process.state == "alive" && process.command == "python3")
        #expect(process.arguments == ["python3", "/root/holder.py"])
        #expect(process.executable?.hasPrefix("/usr/bin/python3") == true)
        #expect(process.environment?.contains("MARK=outside") == true)
        #expect(process.rootDirectory == "/" && process.workingDirectory?.hasPrefix("/") == true)
        #expect(process.credentials?.uid == 0 && process.credentials?.effectiveCapabilities != "0x0")
        #expect(
            process.limits.count == 16 && process.limits.contains { $0.name == "nofile" && $0.soft != nil })
        #expect(process.threads.count == 4 && process.threads[0].tid == process.pid)
        #expect(process.threads[0].nice == 3)
        for thread in process.threads {
            #expect(thread.systemCallName == "clock_nanosleep" || thread.systemCallName == "restart_syscall")
            let address = parseAddress(thread.registers?["rip"] ?? "") ?? 0
            #expect(
                process.memory!.regions!.contains {
                    parseAddress($0.start)! <= address && address < parseAddress($0.end)!
                        && $0.permissions.contains("x")
                }, "rip \(address) of \(thread.tid)")
            #expect(thread.floatingPoint?["xmm15"] != nil && thread.registers?.count == 27)
        }
    }

    private func checkFiles(
        _ files: [InspectedFile], _ facts: [String: Int], _ process: InspectedProcess,
        _ child: InspectedProcess
    ) {
        func file(_ name: String) -> InspectedFile { files.first { $0.fd == facts[name] }! }
        func others(_ holders: [InspectedHolder]?) -> [String] {
            (holders ?? []).map { "\($0.pid) \($0.fd)" }
        }
        // The child has all of them too.
        func both(_ name: String) -> [String] { [process.pid, child.pid].map { "\($0) \(facts[name]!)" } }
        #expect(file("reader").pipe?.end == "read" && file("reader").pipe?.bufferedBytes == 5)
        #expect(others(file("reader").pipe?.otherEnd) == both("writer"))
        #expect(others(file("one").socket?.otherEnd) == both("two"))
        #expect(file("one").socket?.receivedBytes == 7)
        let listener = file("listener").socket
        #expect(
            listener?.state == "listening" && listener?.local == "127.0.0.1:8111" && listener?.backlog == 5)
        let server = file("server").socket
        #expect(server?.state == "established" && server?.receivedBytes == 100)
        #expect(server?.remote == file("client").socket?.local)
        #expect(others(server?.otherEnd) == both("client"))
        #expect(file("named").path == "/tmp/named.sock" && file("named").socket?.state == "listening")
        #expect(file("abstract").socket?.local == "@abstract" && file("abstract").socket?.type == "dgram")
        #expect(
            file("datagrams").socket?.local == "[::1]:9000" && file("datagrams").socket?.protocol == "udp")
        #expect(file("link").kind == "netlink" && file("link").socket?.protocol == "route")
        #expect(file("poll").watches?.map(\.fd) == [facts["reader"]])
        #expect(file("poll").watches?[0].events.contains("EPOLLIN") == true)
        #expect(
            file("log").path == "/tmp/log" && file("log").offset == 9 && file("log").access == "read-write")
        #expect(file("gone").deleted == true && file("gone").path == "/tmp/gone")
        #expect(file("memory").kind == "memfd" && file("memory").size == 5)
        #expect(file("event").counter == 7 && file("signals").signals == ["SIGUSR2"])
        #expect(file("timer").timer?.intervalSeconds == 5 && file("timer").timer!.remainingSeconds > 900)
        #expect(file("watch").watches?[0].events == ["IN_MODIFY"] && file("watch").watches?[0].path == "/tmp")
        #expect(file("master").terminal?.kind == "controller" && file("slave").terminal?.kind == "pty")
        #expect(others(file("slave").terminal?.otherEnd) == both("master"))
        #expect(files[0].path == "/dev/null" && files[0].kind == "device")
    }

    private func checkTimersAndSignals(_ process: InspectedProcess) {
        let timer = process.timers.first { $0.kind == "real" }
        #expect(timer?.signal == "SIGALRM" && timer?.intervalSeconds == 10 && timer!.remainingSeconds > 4900)
        let pending = process.pendingSignals + process.threads.flatMap(\.pendingSignals)
        #expect(pending == ["SIGUSR2"])
        #expect(process.threads[0].blockedSignals == ["SIGUSR2"])
        #expect(
            process.handlers.contains {
                $0.signal == "SIGUSR1" && $0.action == "handler" && $0.address != nil
            })
        #expect(process.handlers.contains { $0.signal == "SIGPIPE" && $0.action == "ignore" })
    }

    @Test func memoryIsReadSearchedAndExtracted() throws {
        try withHolder { ckpt, box, facts in
            let (pid, address) = ("\(facts["pid"]!)", facts["address"]!)
            let needle = "needle-in-haystack"
            func mem(_ options: String..., from snapshot: String = "held") throws -> CommandResult {
                try ckpt.succeed(["mem", snapshot, "--pid", pid] + options)
            }
            #expect(try mem("--at", "\(address)", "-n", "18", "-o", "-").stdout == needle)
            let dump = try mem("--at", "0x" + String(address, radix: 16), "--length", "16").stdout
            #expect(dump.contains("|needle-in-haysta|") && dump.contains("6e 65 65 64 6c 65 2d 69  6e"))
            let hexadecimal = needle.utf8.map { String($0, radix: 16) }.joined(separator: " ")
            for option in [
                ["--search", needle], ["--hex", hexadecimal], ["--regex", "needle-in-[a-z]{8}"],
            ] {
                let found = try ckpt.json(MemoryMatches.self, ["mem", "held", "--pid", pid] + option)
                let match = found.matches.first { parseAddress($0.address) == UInt64(address) }
                #expect(match?.length == 18 && !found.truncated && found.unread == [], "\(option)")
            }
            let one = try ckpt.json(
                MemoryMatches.self, ["mem", "held", "-p", pid, "--search", "e", "--limit", "1"])
            #expect(one.matches.count == 1 && one.truncated)
            let listing = try ckpt.json(MemoryListing.self, ["mem", "held", "--pid", pid])
            let stack = try #require(listing.regions.first { $0.name == "[stack]" })
            let size = parseAddress(stack.end)! - parseAddress(stack.start)!
            let copy = ckpt.root + "/stack"
            _ = try mem("--extract", "[stack]", "-o", copy)
            let bytes = try Data(contentsOf: URL(fileURLWithPath: copy))
            #expect(bytes.count == size && bytes.range(of: Data("MARK=outside".utf8)) != nil)
            // A second save shares its pages with the first; they are read all the same.
            _ = try box.save("-t", "again")
            let again = try ckpt.json(Inspection.self, ["inspect", "again", "--pid", pid])
            #expect(
                again.processes[0].memory!.pages.inheritedBytes > again.processes[0].memory!.pages.storedBytes
            )
            #expect(try mem("--at", "\(address)", "-n", "18", "-o", "-", from: "again").stdout == needle)
        }
    }

    @Test func partsAndPagesForPeople() throws {
        try withHolder { ckpt, _, facts in
            let pid = "\(facts["pid"]!)"
            let page = try ckpt.ok("inspect", "held").stdout
            #expect(page.contains("the read end, 5 bytes in it, other end: \(pid) (python3)"))
            #expect(page.contains("python3 /root/holder.py") && page.contains("clock_nanosleep"))
            #expect(page.contains("/tmp/gone (deleted)") && !page.contains("MARK=outside"))
            let environment = try ckpt.ok("inspect", "held", "--pid", pid, "--env").stdout
            #expect(environment.contains("MARK=outside") && !environment.contains("/tmp/gone"))
            let sockets = try ckpt.json(Inspection.self, ["inspect", "held", "--pid", pid, "--sockets"])
            #expect(sockets.processes.count == 1 && sockets.processes[0].environment == nil)
            #expect(
                sockets.processes[0].files!.allSatisfy { $0.socket != nil }
                    && sockets.processes[0].files!.count > 6)
            #expect(sockets.processes[0].threads[0].registers == nil)
            #expect(sockets.processes[0].memory?.regions == nil)
            #expect(try ckpt.ok("inspect", "held", "--regs").stdout.contains("rip 0x"))
            #expect(try ckpt.ok("inspect", "held", "--memory").stdout.contains("[stack]"))
            #expect(try ckpt.ok("mem", "held", "--pid", pid).stdout.contains("[stack]"))
            let none = try ckpt("inspect", "held", "--pid", "99999")
            #expect(none.status == 125 && none.stderr.contains("has no process 99999"))
            let unmapped = try ckpt("mem", "held", "--pid", pid, "--at", "0x10")
            expectRefusal(
                unmapped, names: ["nothing mapped at 0x10", "python3", "above", "--pid \(pid) lists"])
            let listing = try ckpt.json(MemoryListing.self, ["mem", "held", "--pid", pid])
            let heap = try #require(listing.regions.first { $0.name == "[heap]" })
            let last = "0x" + String(parseAddress(heap.end)! - 8, radix: 16)
            let cut = try ckpt.ok("mem", "held", "--pid", pid, "--at", last, "--length", "64")
            #expect(cut.lines.count == 1 && cut.stderr.contains("mapped memory ends at \(heap.end)"))
            expectRefusal(
                try ckpt("mem", "held", "--pid", pid, "--at", heap.end), names: ["\(heap.end) ([heap]) below"]
            )
            let wrong = try ckpt("mem", "held", "--pid", pid, "--regex", "(")
            #expect(wrong.status == 125 && wrong.stderr.contains("no regular expression"))
            #expect(try ckpt("mem", "held").status == 2)
            #expect(try ckpt("mem", "held", "--pid", pid, "--at", "here").status == 2)
        }
    }

    @Test func damagedImageIsNamed() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("box")
            let id = try box.save()
            ckpt.damaged.insert(id)
            let core = "\(ckpt.root)/snapshots/\(id)/process/core-1.img"
            let bytes = try Data(contentsOf: URL(fileURLWithPath: core))
            try bytes.dropLast(7).write(to: URL(fileURLWithPath: core))
            let result = try ckpt("inspect", id)
            expectRefusal(
                result, names: ["process/core-1.img has \(bytes.count - 7) bytes and had \(bytes.count)"])
        }
    }

    @Test func schemaRefusesWhatDoesNotFit() throws {
        let whole = #"{"snapshot":"x","dump":{"imageVersion":2},"namespaces":[],"processes":[],"more":1}"#
        let problems = try SnapshotSchema.problems(in: Data(whole.utf8))
        #expect(problems.contains("$ lacks mounts") && problems.contains("$ has the unknown more"))
        #expect(problems.contains("$.dump lacks frozenMs"))
    }
}
