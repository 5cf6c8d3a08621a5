import Glibc
import LinuxSystem
import Testing

@testable import Criu
@testable import CriuImages

private let counting = "/bin/bash -c 'i=0; while :; do echo $((++i)) $$ > /count; sleep 0.01; done'"

extension TestSandbox {
    /// The number in /count, and the shell's own pid.
    fileprivate func count() throws -> (Int, Int) {
        var pair: [Int] = []
        try eventually("/count is written") {
            pair = (file("/count") ?? "").split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
            return pair.count == 2
        }
        return (pair[0], pair[1])
    }

    /// Waits until the loop has gone round; asked of what runs, as a stopped loop may have left the file empty.
    fileprivate func expectCounting(_ what: String) throws {
        let last = try count().0
        try eventually("\(what) goes on") { try count().0 > last }
    }

    fileprivate func namespace(_ kind: String) throws -> String {
        try shell("readlink /proc/\(pid!)/ns/\(kind)")
    }
}

extension CriuSuite {
    @Suite struct RoundTrip {
        @Test(arguments: [false, true])
        func threeGenerations(sysfs: Bool) throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, counting, sysfs: sysfs)
                let shell = try box.count().1
                for _ in 0..<3 {
                    let image = try box.dump()
                    let network = try box.namespace("net")
                    // As long as it is there, no other gets its number.
                    let held = open("/proc/\(box.pid!)/ns/net", O_RDONLY | O_CLOEXEC)
                    defer { close(held) }
                    try box.expectCounting("the dumped tree")
                    try box.restore(image)
                    try box.expectCounting("the restored tree")
                    #expect(try box.count().1 == shell)
                    #expect(try box.namespace("net") != network)
                }
            }
        }

        @Test func stoppingDumpKillsTheTree() throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, counting)
                _ = try box.count()
                let root = box.pid!
                let image = try box.dump(leaveRunning: false)
                // The host's init reaps it, as the program that started it is gone.
                try eventually("the tree is gone") { kill(root, 0) == -1 && errno == ESRCH }
                try box.restore(image)
                try box.expectCounting("the restored tree")
            }
        }

        @Test func namespacesBelongToTheTree() throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, counting)
                _ = try box.count()
                try box.restore(try box.dump())
                for kind in ["user", "pid", "mnt", "uts", "ipc", "net", "time", "cgroup"] {
                    #expect(try box.namespace(kind) != shell("readlink /proc/self/ns/\(kind)"), "\(kind)")
                }
                // Only what the tree's user namespace owns can be entered from inside it.
                try shell("nsenter --user --net --target \(box.pid!) ip link set lo mtu 60000")
            }
        }

        /// Programs that assert from inside that what they opened before the first dump still works.
        @Test(arguments: ["/sockets", "/terminal"])
        func openThingsSurvive(program: String) throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, program)
                try eventually("it is ready") {
                    box.file("/ready") == "ready\n" || box.file("/result") != nil
                }
                try #require(box.file("/result") == nil)
                for _ in 0..<2 { try box.restore(try box.dump()) }
                try shell("touch \(box.root)/go")
                try eventually("it has tried") { box.file("/result")?.hasSuffix("\n") == true }
                #expect(box.file("/result") == "ok\n")
            }
        }

        @Test func clocksGoOnWhereTheyStopped() throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, "/clocks")
                func clocks() -> [Int64] {
                    (box.file("/clocks") ?? "").split(whereSeparator: \.isWhitespace).compactMap { Int64($0) }
                }
                try eventually("the clocks are read") { clocks().count == 3 }
                let image = try box.dump(leaveRunning: false)
                let before = clocks()
                try box.restore(image)
                try eventually("the clocks are read again") { clocks()[0] > before[0] + 1 }
                let after = clocks()
                let host = Int64(monotonicNanoseconds())
                #expect(after[1] > before[1] && after[2] > before[2])
                // The time between dump and restore has not passed in the sandbox, whose clock began as the host's.
                #expect(after[1] < host)
            }
        }

        @Test func processesOfAnotherUserSurvive() throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, "/hold nobody")
                try eventually("the process is another user's") { box.file("/ready") == "ready\n" }
                for _ in 0..<2 { try box.restore(try box.dump()) }
                let status = text(of: "/proc/\(try box.hostPID(2))/status") ?? ""
                #expect(status.contains("Uid:\t65534\t65534\t65534\t65534"))
            }
        }

        /// One image, several restores at once, each onto its own files.
        @Test func oneImageRestoresManyTimesAtOnce() throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, counting)
                _ = try box.count()
                let image = try box.dump()
                let failures = Monitor<[String?]>([])
                for copy in 1...4 {
                    let twin = try TestSandbox(copying: box, image)
                    startThread {
                        let failure: String?
                        do {
                            try twin.restore(image)
                            try twin.expectCounting("twin \(copy)")
                            failure = nil
                        } catch {
                            failure = "\(error)"
                        }
                        twin.kill()
                        failures.with(wake: true) { $0.append(failure) }
                    }
                }
                let all = failures.wait { $0.count == 4 ? $0 : nil }
                #expect(all == [nil, nil, nil, nil])
            }
        }

        @Test func restoreOnlyReadsTheImages() throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, counting)
                _ = try box.count()
                let image = try box.dump()
                func listing() throws -> String {
                    try shell("cd \(box.images(image)) && ls -la --time-style=full-iso . && sha256sum *")
                }
                let before = try listing()
                for _ in 0..<2 { try box.restore(image) }
                #expect(try listing() == before)
            }
        }

        /// A cgroup hierarchy of the kernel that a test may make a group in, v2 or v1.
        private static let hierarchy = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"]
            .first { access($0 + "/cgroup.procs", W_OK) == 0 }

        @Test(.enabled(if: hierarchy != nil, "no writable cgroup hierarchy"))
        func restoredTreeIsInTheWorkersCgroup() throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, counting)
                _ = try box.count()
                let group = "\(Self.hierarchy!)/ckpt-criu-test-\(getpid())"
                try shell("mkdir \(group)")
                defer {
                    box.kill()
                    rmdir(group)
                }
                let image = try box.dump()
                let join = try Descriptor.open("\(group)/cgroup.procs", O_WRONLY)
                try box.restore(image, in: CriuSurroundings(cgroups: [join.raw], ownCgroupNamespace: true))
                let members = try shell("cat \(group)/cgroup.procs").split(separator: "\n")
                let second = try box.hostPID(2)
                #expect(members.contains("\(box.pid!)") && members.contains("\(second)"))
                let own = try shell("nsenter -t \(box.pid!) --mount --cgroup cat /proc/1/cgroup")
                #expect(!own.contains("ckpt-criu-test"))
                // A dump by a worker of another cgroup than the tree's must not mind.
                let again = try box.dump()
                try box.restore(again)
            }
        }

        @Test func imagesTellWhatWasDumped() throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, "/hold mapping")
                try eventually("the file is mapped") { box.file("/ready") == "ready\n" }
                let images = try ImageDirectory(box.images(try box.dump()))
                let processes = try images.processes()
                #expect(processes.map(\.pid) == [1, 2])
                #expect(processes.map(\.parent) == [0, 1])
                #expect(processes.map(\.command) == ["init", "hold"])
                #expect(processes.map(\.state) == [.alive, .alive])
                #expect(try images.processCount() == 2)
                #expect(try images.sharedWritableFiles() == ["/mapped"])
                let found = try images.dumpStatistics()
                let statistics = try #require(found)
                #expect(statistics.frozen >= statistics.freezing && statistics.pagesWritten > 0)
                #expect(try images.inventory().worker.network == ImageDirectory.unusedNamespace)
            }
        }
    }
}
