import Client
import LinuxSystem
import Messages
import Testing

/// Every call of the client against the real server, and the errors the engine answers with.
struct CallTests {
    @Test func serviceCalls() throws {
        try TestServer.run { (server) throws in
            let client = server.client
            #expect(try client.version().api == "v1")
            #expect(try client.doctor().checks.map(\.name) == ["criu"])
            #expect(try client.gc().freedBytes == 9)
        }
    }

    @Test func sandboxCalls() throws {
        try TestServer.run { (server) throws in
            let client = server.client
            let spec = SandboxSpec(base: .directory("/srv/ä b"), env: ["A": "\u{1F9EA}\"\\\n"])
            #expect(try client.create(CreateRequest(name: "other", spec: spec)).spec == spec)
            #expect(try client.sandboxes().sandboxes.map(\.name) == ["box", "other"])
            #expect(try client.sandbox("other").spec == spec)
            #expect(try client.logs("box").records.map(\.text) == ["hello\n"])
            #expect(errorOf { () throws(ErrorMessage) in try client.remove("other") }?.code == .wrongState)
            #expect(try client.kill("other", KillRequest(signal: 9)).state == .running)
            #expect(try client.kill("other").state == .stopped)
            try client.remove("other")
            try client.remove("box", force: true)
            #expect(try client.sandboxes().sandboxes.isEmpty)
        }
    }

    @Test func snapshotCalls() throws {
        try TestServer.run { (server) throws in
            let client = server.client
            let saved = try client.save("box", SaveRequest(tag: "a/b~1 %?#&+é", message: "m"))
            #expect(saved.message == "m")
            // A reference with every character that means something in a path.
            #expect(try client.snapshot("a/b~1 %?#&+é").id == saved.id)
            #expect(try client.tag(saved.id, "x/y").tags == ["a/b~1 %?#&+é", "x/y"])
            try client.untag("x/y")
            #expect(try client.tree().snapshots.map(\.tags) == [["a/b~1 %?#&+é"]])
            #expect(try client.restore("box").snapshot == "snap0")
            #expect(try client.restore("box", RestoreRequest(snapshot: saved.id)).snapshot == saved.id)
            #expect(try client.reset("box").snapshot == nil)
            #expect(try client.check("box").problems.map(\.id) == ["io-uring"])
            let forked = try client.fork(ForkRequest(source: saved.id, count: 3, prefix: "f"))
            #expect(forked.sandboxes.map(\.name) == ["f-1", "f-2", "f-3"])
            #expect(try client.delete(saved.id, subtree: true).deleted == [saved.id, "and its subtree"])
            #expect(try client.tree().snapshots.isEmpty)
        }
    }

    @Test func bufferedExec() throws {
        try TestServer.run { (server) throws in
            let client = server.client
            var request = ExecRequest(argv: ["cat"])
            request.stdin = "aGk="
            let result = try client.exec("box", request)
            #expect(result.stdout == "aGk=")
            #expect(result.id.count == 24)
            request.argv = ["die"]
            #expect(try client.exec("box", request).exitCode == 3)
            // Larger than every buffer on the way.
            request.argv = ["print", "20000000"]
            #expect(try client.exec("box", request).stdout?.utf8.count == 20_000_000)
        }
    }

    @Test func errorsArriveAsTheyWereThrown() throws {
        try TestServer.run { (server) throws in
            let client = server.client
            let unknown = errorOf { () throws(ErrorMessage) in _ = try client.sandbox("nobody") }
            #expect(unknown == ErrorMessage(.unknownSandbox, "there is no sandbox nobody"))
            let taken = errorOf { () throws(ErrorMessage) in
                _ = try client.create(CreateRequest(name: "box", spec: SandboxSpec()))
            }
            #expect(
                taken
                    == ErrorMessage(
                        .nameTaken, "there is a sandbox box already", hint: "choose another name"))
            let snapshot = errorOf { () throws(ErrorMessage) in _ = try client.snapshot("none") }
            #expect(snapshot?.code == .unknownSnapshot)
            #expect(try client.version().api == "v1")
        }
    }

    @Test func withoutAServerTheErrorSaysHowToStartOne() throws {
        let root = try TestRoot()
        let error = errorOf { () throws(ErrorMessage) in _ = try root.client.version() }
        #expect(error?.hint == "start one with ckpt serve")
    }

    @Test func interruptionBreaksTheCallOff() throws {
        try TestServer.run { (server) throws in
            let client = server.client
            let interrupter = client.interrupter
            let engine = server.engine
            startThread {
                _ = engine.waits(for: "hangs")
                interrupter.interrupt()
            }
            let error = errorOf { () throws(ErrorMessage) in
                _ = try client.exec("box", ExecRequest(argv: ["hang"]))
            }
            #expect(error?.code == .cancelled)
            #expect(engine.waits(for: "cancelled"))
            #expect(try client.version().api == "v1")
        }
    }
}
