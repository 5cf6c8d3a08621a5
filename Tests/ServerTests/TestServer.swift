import Foundation
import LinuxSystem
import Messages
import ServerFixture
import Telemetry
import Testing

@testable import Client
@testable import Server

/// A root directory of its own, gone after the test.
final class TestRoot {
    let path: String

    init(_ path: String? = nil) throws {
        var template = Array("/tmp/ckpt-server-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        self.path = String(decoding: template.dropLast().map(UInt8.init), as: UTF8.self) + (path ?? "")
        try Files.makeDirectory(self.path)
    }

    /// A client that starts no server.
    var client: Client { Client(root: path, launch: nil) }

    deinit {
        let top = path.split(separator: "/").prefix(2).joined(separator: "/")
        _ = system("rm -rf /\(top)")
    }
}

/// The real server on the fixture engine, in this process, with one sandbox `box`.
struct TestServer {
    let root: TestRoot
    let engine: FixtureEngine
    let server: APIServer

    var client: Client { root.client }
    var telemetry: Telemetry { server.telemetry }

    /// The fixture's executable, which lies beside the one these tests run in.
    static func program() throws -> String {
        let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let program = URL(fileURLWithPath: own).deletingLastPathComponent().path + "/ServerFixtureProgram"
        try #require(Files.exists(program))
        return program
    }

    /// A connected socket without any manners.
    func connect() throws -> Descriptor {
        let directory = try Descriptor.open(root.path, O_PATH)
        return try UnixSocket.connect("server.sock", in: directory, at: root.path)
    }

    /// Runs `body` against a server, then stops it and fails the test unless every request had ended.
    static func run(
        limits: ServerLimits = ServerLimits(), below path: String? = nil, _ body: (TestServer) throws -> Void
    ) throws {
        let root = try TestRoot(path)
        let engine = FixtureEngine(directory: root.path)
        _ = try engine.create(CreateRequest(name: "box", spec: SandboxSpec()))
        let server = try APIServer(root: root.path, limits: limits) { (_) throws(ErrorMessage) in engine }
        defer {
            server.requestStop()
            #expect(server.waitUntilStopped())
            #expect(!Files.exists("\(root.path)/server.sock"))
            #expect(!Files.exists("\(root.path)/server.pid"))
        }
        try body(TestServer(root: root, engine: engine, server: server))
    }
}

extension Descriptor {
    func send(_ text: String) throws { try sendAll(Array(text.utf8)) }

    /// Reads until the other side closes, or a reset says the same.
    func readToEnd() -> String {
        var all: [UInt8] = []
        while let part = try? read(upTo: 65_536), !part.isEmpty { all += part }
        return String(decoding: all, as: UTF8.self)
    }
}

/// The error that `body` throws.
func errorOf(_ body: () throws(ErrorMessage) -> Void) -> ErrorMessage? {
    do throws(ErrorMessage) {
        try body()
        return nil
    } catch {
        return error
    }
}

/// JSON as bytes.
enum JSONText {
    static func encode(_ value: some Encodable) throws -> [UInt8] { Array(try JSONEncoder().encode(value)) }
}
