import Glibc
import LinuxSystem
import Testing

@testable import Criu

private struct Stop: Error {}

/// The children of this thread, which starts the workers here; other threads run other suites.
private func children() -> Set<String> {
    Set((text(of: "/proc/thread-self/children") ?? "").split(separator: " ").map(String.init))
}

extension CriuSuite {
    @Suite struct Interruptions {
        /// The mappings of every process of the tree: a parasite of CRIU would be one more.
        private static func mappings(_ box: TestSandbox) throws -> String {
            try [1, 2].map { try shell("cut -d ' ' -f 1,2,6- /proc/\(try box.hostPID($0))/maps") }.joined()
        }

        @Test(arguments: [CriuNotification.Moment.preDump, .postDump])
        func stoppedDumpLeavesTheTreeAsItWas(moment: CriuNotification.Moment) throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, "/clocks")
                try eventually("it runs") { box.file("/clocks") != nil }
                let before = try Self.mappings(box)
                let error = try #require(throws: CriuError.self) {
                    try box.dump(leaveRunning: false) { if $0.moment == moment { throw Stop() } }
                }
                #expect(error.kind == .stoppedByCaller && error.cause is Stop)
                let last = box.file("/clocks")
                try eventually("the tree goes on") { box.file("/clocks") != last }
                #expect(try Self.mappings(box) == before)
                try box.restore(try box.dump())
            }
        }

        @Test func treeStandsStillWhileItIsDumped() throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, "/clocks")
                try eventually("it runs") { box.file("/clocks") != nil }
                var moments: [CriuNotification.Moment] = []
                try box.dump { notification in
                    moments.append(notification.moment)
                    guard notification.moment != .preDump else { return }
                    for inner in [1, 2] {
                        let status = text(of: "/proc/\(try box.hostPID(inner))/status") ?? ""
                        #expect(status.contains("State:\tt (tracing stop)"))
                    }
                }
                #expect(moments == [.preDump, .frozen, .postDump])
            }
        }

        @Test func lateDumpIsGivenUp() throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, "/clocks")
                try eventually("it runs") { box.file("/clocks") != nil }
                let deadline = monotonicNanoseconds() + 1_000_000_000
                let error = try #require(throws: CriuError.self) {
                    try box.dump(deadline: deadline) { notification in
                        guard notification.moment == .postDump else { return }
                        while monotonicNanoseconds() < deadline { usleep(1000) }
                    }
                }
                #expect(error.kind == .deadlinePassed)
                let last = box.file("/clocks")
                try eventually("the tree goes on") { box.file("/clocks") != last }
            }
        }

        /// A worker that hangs in the middle of a dump is not killed, and once it goes on it lets the tree go.
        @Test(arguments: [CriuNotification.Moment.preDump, .postDump])
        func stuckDumpIsLeftAlone(moment: CriuNotification.Moment) throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, "/clocks")
                try eventually("it runs") { box.file("/clocks") != nil }
                let before = children()
                var worker: Int32 = 0
                let error = try #require(throws: CriuError.self) {
                    let deadline = monotonicNanoseconds() + 500_000_000
                    try box.dump(deadline: deadline, grace: 100_000_000) { notification in
                        guard notification.moment == moment else { return }
                        worker = notification.worker
                        kill(worker, SIGSTOP)
                        // After a success at this moment the dump would be complete.
                        if moment == .postDump { throw Stop() }
                    }
                }
                #expect(error.kind == .dumpStuck)
                #expect(kill(worker, SIGCONT) == 0)
                try eventually("the worker is gone and reaped") { children() == before }
                let last = box.file("/clocks")
                try eventually("the tree goes on") { box.file("/clocks") != last }
                try box.restore(try box.dump())
            }
        }

        @Test(arguments: [
            CriuNotification.Moment.preRestore, .setupNamespaces, .postSetupNamespaces, .postRestore,
        ])
        func stoppedRestoreLeavesNothing(moment: CriuNotification.Moment) throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, "/clocks")
                try eventually("it runs") { box.file("/clocks") != nil }
                let image = try box.dump(leaveRunning: false)
                let before = children()
                let error = try #require(throws: CriuError.self) {
                    try box.restore(image) { if $0.moment == moment { throw Stop() } }
                }
                #expect(error.kind == .stoppedByCaller && error.cause is Stop)
                #expect(children() == before)
                try box.restore(image)
            }
        }

        /// The worker hangs at each moment in turn, as a lazy restore can.
        @Test(arguments: [
            CriuNotification.Moment.preRestore, .setupNamespaces, .postSetupNamespaces, .postRestore,
        ])
        func hangingRestoreIsKilledWithItsTree(moment: CriuNotification.Moment) throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, "/clocks")
                try eventually("it runs") { box.file("/clocks") != nil }
                let image = try box.dump(leaveRunning: false)
                let before = children()
                let error = try #require(throws: CriuError.self) {
                    try box.restore(image, deadline: monotonicNanoseconds() + 1_000_000_000) { notification in
                        guard notification.moment == moment else { return }
                        kill(notification.worker, SIGSTOP)
                    }
                }
                #expect(error.kind == .deadlinePassed, "\(error) \(error.log)")
                #expect(children() == before)
                #expect(try shell("ls /proc/*/root/clocks 2>/dev/null | wc -l") == "0\n")
            }
        }

        @Test func unusedWorkerGoesAway() throws {
            try inPrivateMounts { binary in
                let before = children()
                _ = try CriuWorker.spawn(binary)
                #expect(children() == before)
            }
        }

        @Test func workerThatCannotStartIsAnError() throws {
            let error = try #require(throws: CriuError.self) {
                try CriuBinary(path: "/nonexistent/criu", isPinned: false).version()
            }
            #expect(error.kind == .workerFailed)
            #expect((error.cause as? SystemError)?.code == ENOENT)
        }
    }
}
