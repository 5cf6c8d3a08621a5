import Foundation
import LinuxSystem
import Messages
import Server
import ServerFixture
import Testing

@testable import Client

/// Starting, ending, dying and starting again, with servers in processes of their own.
struct LifecycleTests {
    private func launch(_ root: TestRoot, failure: String? = nil) throws -> ServerLaunch {
        let program = try TestServer.program()
        guard let failure else {
            return ServerLaunch(executable: program, arguments: ["serve", "--root", root.path])
        }
        return ServerLaunch(
            executable: "/usr/bin/env",
            arguments: ["FIXTURE_FAILURE=\(failure)", program, "serve", "--root", root.path])
    }

    /// Gives `body` a client that starts servers; whatever runs afterwards is ended.
    private func withRoot(
        below path: String? = nil, _ body: (TestRoot, ServerLaunch) throws -> Void
    ) throws {
        let root = try TestRoot(path)
        let launch = try launch(root)
        defer {
            if let pid = try? serverPid(root), kill(pid, SIGKILL) == 0 { waitForEnd(pid) }
        }
        try body(root, launch)
    }

    private func serverPid(_ root: TestRoot) throws -> pid_t {
        let text = String(decoding: try Files.read("\(root.path)/server.pid"), as: UTF8.self)
        return try #require(pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)))
    }

    private func waitForEnd(_ pid: pid_t) {
        let deadline = monotonicNanoseconds() + 20_000_000_000
        while kill(pid, 0) == 0, monotonicNanoseconds() < deadline { usleep(2000) }
    }

    @Test func theFirstCallStartsAServerAndTheNextUseIt() throws {
        try withRoot { (root, launch) throws in
            let pid = try Client(root: root.path, launch: launch).version().pid
            #expect(try serverPid(root) == pid)
            #expect(try Client(root: root.path, launch: launch).version().pid == pid)
            var status = stat()
            #expect(stat("\(root.path)/server.sock", &status) == 0 && status.st_mode & 0o777 == 0o600)
            // A daemon: its own session, not our child, nothing of ours open.
            #expect(getsid(pid) == pid || getsid(pid) != getsid(0))
            #expect(waitpid(pid, nil, WNOHANG) == -1)
        }
    }

    /// Whom a server was just starting when it was killed has its lock for a moment longer.
    @Test func theLockOfAServerThatWasKilledIsWaitedFor() throws {
        try withRoot { (root, launch) throws in
            let ended = Process()
            ended.executableURL = URL(fileURLWithPath: "/bin/true")
            try ended.run()
            ended.waitUntilExit()
            let file = try Descriptor.open("\(root.path)/server.pid", O_RDWR | O_CREAT, mode: 0o600)
            #expect(flock(file.raw, LOCK_EX | LOCK_NB) == 0)
            try file.writeAll(Array("\(ended.processIdentifier)\n".utf8))
            let number = file.raw
            startThread {
                usleep(500_000)
                flock(number, LOCK_UN)
            }
            #expect(try Client(root: root.path, launch: launch).version().pid > 0)
            // Open until here.
            #expect(fcntl(file.raw, F_GETFD) >= 0)
        }
    }

    @Test func manyFirstCallsAtOnceStartOneServer() throws {
        try withRoot { (root, launch) throws in
            let pids = Monitor<[Int32]>([])
            let path = root.path
            for _ in 0..<20 {
                startThread {
                    let pid = try? Client(root: path, launch: launch).version().pid
                    pids.with(wake: true) { $0.append(pid ?? -1) }
                }
            }
            let all = pids.wait(until: monotonicNanoseconds() + 60_000_000_000) { $0.count == 20 ? $0 : nil }
            #expect(Set(all ?? []).count == 1)
            #expect(all?.first ?? -1 > 0)
        }
    }

    @Test func aRootLongerThanASocketAddressWorks() throws {
        try withRoot(below: "/" + String(repeating: "long/", count: 40) + "end") { (root, launch) throws in
            #expect(root.path.utf8.count > 200)
            #expect(try Client(root: root.path, launch: launch).version().api == "v1")
        }
    }

    @Test func aSecondServerNamesTheFirst() throws {
        try TestServer.run { (server) throws in
            let error = errorOf { () throws(ErrorMessage) in
                _ = try APIServer(root: server.root.path) { (_) throws(ErrorMessage) in
                    Issue.record("the engine must not be opened")
                    return server.engine
                }
            }
            #expect(error?.code == .inUse)
            #expect(error?.message.contains("pid \(getpid())") == true)
            #expect(try server.client.version().pid == getpid())
        }
    }

    @Test func aKilledServerIsReplaced() throws {
        try withRoot { (root, launch) throws in
            let client = Client(root: root.path, launch: launch)
            let first = try client.version().pid
            kill(first, SIGKILL)
            waitForEnd(first)
            #expect(Files.exists("\(root.path)/server.sock"))
            let second = try client.version().pid
            #expect(second != first)
            #expect(try serverPid(root) == second)
        }
    }

    @Test(arguments: [SIGTERM, SIGINT])
    func signalsEndItCleanly(number: Int32) throws {
        try withRoot { (root, launch) throws in
            let client = Client(root: root.path, launch: launch)
            let pid = try client.version().pid
            kill(pid, number)
            waitForEnd(pid)
            #expect(!Files.exists("\(root.path)/server.sock"))
            #expect(!Files.exists("\(root.path)/server.pid"))
            let log = String(decoding: try Files.read("\(root.path)/server.log"), as: UTF8.self)
            #expect(log.contains("ended"))
        }
    }

    @Test func shutdownLetsARunningRequestFinish() throws {
        try withRoot { (root, launch) throws in
            let pid = try Client(root: root.path, launch: launch).version().pid
            let code = Monitor<Int32?>(nil)
            let path = root.path
            startThread {
                let client = Client(root: path, launch: nil)
                var request = ExecRequest(argv: ["sleep"])
                request.timeout = 1.5
                let result = try? client.exec("box", request)
                code.with(wake: true) { $0 = result?.exitCode ?? -1 }
            }
            usleep(500_000)
            try Client(root: root.path, launch: nil).shutdown()
            #expect(code.wait(until: monotonicNanoseconds() + 20_000_000_000) { $0 } == 0)
            waitForEnd(pid)
            #expect(!Files.exists("\(root.path)/server.pid"))
        }
    }

    @Test func aCallDuringAShutdownGetsTheNextServer() throws {
        try withRoot { (root, launch) throws in
            let client = Client(root: root.path, launch: launch)
            var last: Int32 = 0
            for _ in 0..<10 {
                last = try client.version().pid
                try client.shutdown()
            }
            waitForEnd(last)
            let pid = try client.version().pid
            #expect(pid != last)
            #expect(try serverPid(root) == pid)
        }
    }

    @Test func shutdownsLoseNoCallThatMayNotBeRepeated() throws {
        try withRoot { (root, launch) throws in
            let path = root.path
            let state = Monitor((running: 4, stop: false, calls: 0, errors: [String]()))
            for _ in 0..<4 {
                startThread {
                    let client = Client(root: path, launch: launch)
                    while !state.with({ $0.stop }) {
                        let error = errorOf { () throws(ErrorMessage) in _ = try client.save("box") }
                        state.with { state in
                            state.calls += 1
                            if let error { state.errors.append("\(error)") }
                        }
                    }
                    state.with(wake: true) { $0.running -= 1 }
                }
            }
            var servers: Set<pid_t> = []
            let client = Client(root: path, launch: launch)
            for _ in 0..<15 {
                servers.insert(try client.version().pid)
                usleep(20_000)
                try client.shutdown()
            }
            state.with { $0.stop = true }
            _ = state.wait(until: monotonicNanoseconds() + 60_000_000_000) { $0.running == 0 ? true : nil }
            #expect(state.with { $0.errors } == [])
            #expect(state.with { $0.calls } > 15)
            #expect(servers.count > 5)
        }
    }

    @Test func aServerThatCannotStartSaysWhy() throws {
        let root = try TestRoot()
        let engine = try launch(root, failure: "engine")
        let error = errorOf { () throws(ErrorMessage) in
            _ = try Client(root: root.path, launch: engine).version()
        }
        #expect(error == ErrorMessage(.notInstalled, "there is no engine", hint: "get one"))
        #expect(!Files.exists("\(root.path)/server.pid"))
        let crash = try launch(root, failure: "crash")
        let crashed = errorOf { () throws(ErrorMessage) in
            _ = try Client(root: root.path, launch: crash).version()
        }
        #expect(crashed?.cause?.contains("the fixture crashes as it was asked to") == true)
        let missing = errorOf { () throws(ErrorMessage) in
            let launch = ServerLaunch(executable: "\(root.path)/nothing", arguments: [])
            _ = try Client(root: root.path, launch: launch).version()
        }
        #expect(missing?.cause?.contains("No such file or directory") == true)
    }

    @Test func anExecStreamOutlivesItsServer() throws {
        try withRoot { (root, launch) throws in
            let total = 24 << 20
            var request = ExecRequest(argv: ["echo"])
            request.interactive = true
            let stream = try Client(root: root.path, launch: launch).attach("box", request)
            startThread {
                var sent = 0
                while sent < total {
                    let part = Pattern.bytes(at: UInt64(sent), min(50_001, total - sent))
                    guard stream.write(part) else { return }
                    sent += part.count
                }
                stream.closeStdin()
            }
            var offset = 0
            var whole = true
            var killed: Set<pid_t> = []
            while true {
                guard case .output(_, let bytes) = try stream.next() else { break }
                whole = whole && Array(bytes) == Pattern.bytes(at: UInt64(offset), bytes.count)
                offset += bytes.count
                if offset > total * (killed.count + 1) / 6, killed.count < 5 {
                    let pid = try serverPid(root)
                    kill(pid, SIGKILL)
                    killed.insert(pid)
                }
            }
            #expect(offset == total)
            #expect(whole)
            #expect(killed.count == 5)
        }
    }

    @Test func anExecStreamOutlivesACleanShutdownToo() throws {
        try withRoot { (root, launch) throws in
            var request = ExecRequest(argv: ["echo"])
            request.interactive = true
            let stream = try Client(root: root.path, launch: launch).attach("box", request)
            stream.write(Pattern.bytes(at: 0, 100_000))
            let client = Client(root: root.path, launch: launch)
            let pid = try client.version().pid
            try client.shutdown()
            waitForEnd(pid)
            stream.write(Pattern.bytes(at: 100_000, 100_000))
            stream.closeStdin()
            var all: [UInt8] = []
            while case .output(_, let bytes) = try stream.next() { all += bytes }
            #expect(all == Pattern.bytes(at: 0, 200_000))
            #expect(try client.version().pid != pid)
        }
    }

    @Test func aStreamThatMayStartNoServerWaitsForOne() throws {
        try withRoot { (root, launch) throws in
            let client = Client(root: root.path, launch: launch)
            let pid = try client.version().pid
            let stream = try root.client.attach("box", ExecRequest(argv: ["pattern", "30000000"]))
            kill(pid, SIGKILL)
            waitForEnd(pid)
            let path = root.path
            startThread {
                usleep(300_000)
                _ = try? Client(root: path, launch: launch).version()
            }
            var total = 0
            while case .output(_, let bytes) = try stream.next() { total += bytes.count }
            #expect(total == 30_000_000)
        }
    }

    @Test func aStreamThatFindsNoServerAgainEnds() throws {
        try withRoot { (root, launch) throws in
            let pid = try Client(root: root.path, launch: launch).version().pid
            var endpoint = Endpoint(root: root.path, launch: nil)
            endpoint.patience = 500
            var request = ExecRequest(argv: ["echo"])
            request.interactive = true
            let stream = try ExecStream(endpoint, sandbox: "box", request)
            let written = Monitor<Bool?>(nil)
            startThread {
                // More than the window holds: waits until the stream ends.
                var more = true
                while more { more = stream.write([UInt8](repeating: 0, count: 65_536)) }
                written.with(wake: true) { $0 = more }
            }
            kill(pid, SIGKILL)
            waitForEnd(pid)
            var error: ErrorMessage?
            while error == nil { error = errorOf { () throws(ErrorMessage) in _ = try stream.next() } }
            #expect(error?.code == .notFound)
            #expect(written.wait(until: monotonicNanoseconds() + 20_000_000_000) { $0 } == false)
        }
    }

    @Test func curlSpeaksToIt() throws {
        try TestServer.run { (server) throws in
            let curl = Process()
            curl.executableURL = URL(fileURLWithPath: "/usr/bin/curl")
            curl.arguments = [
                "-sS", "--fail", "--unix-socket", "\(server.root.path)/server.sock", "-d",
                "{\"argv\":[\"cat\"],\"stdin\":\"from curl\"}", "http://ckpt/v1/sandboxes/box/exec",
            ]
            let output = Foundation.Pipe()
            curl.standardOutput = output
            try curl.run()
            let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            curl.waitUntilExit()
            #expect(curl.terminationStatus == 0)
            #expect(text.contains("\"stdout\":\"from curl\""))
        }
    }
}
