import Foundation
import Glibc
import Messages
import Testing

/// One `ckpt` of its own: a root directory, the server that belongs to it, and the command line to drive it.
final class Ckpt: @unchecked Sendable {
    let root: String
    /// The binary that this one calls; another than `Ckpt.binary` where a test needs a broken installation.
    let program: String
    /// Environment on top of the test's own.
    let environment: [String: String]
    private let lock = NSLock()
    // Guarded by the lock.
    private var seenServers: Set<pid_t> = []
    /// Snapshots whose images a test has damaged on purpose, by id: they are not held to the schema.
    var damaged: Set<String> = []

    /// The binary under test: CKPT_BIN, or the release build beside the sources.
    static let binary: String = {
        if let path = ProcessInfo.processInfo.environment["CKPT_BIN"] { return path }
        let package = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        return package.appendingPathComponent(".build/release/ckpt").path
    }()

    init(root: String? = nil, program: String? = nil, environment: [String: String] = [:]) throws {
        self.program = program ?? Self.binary
        if let root {
            self.root = root
        } else {
            // Short, because a Unix socket's path has 107 bytes.
            var template = Array("/tmp/ckpt-e2e-XXXXXX".utf8CString)
            guard mkdtemp(&template) != nil else { throw HarnessError("mkdtemp: errno \(errno)") }
            self.root = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        self.environment = environment.merging(["CKPT_ROOT": self.root]) { $1 }
    }

    var socket: String { "\(root)/server.sock" }

    /// Runs `ckpt ARGUMENTS` to its end, whatever that is.
    @discardableResult
    func callAsFunction(
        _ arguments: String..., stdin: Data = Data(), deadline: Double = 60
    ) throws -> CommandResult {
        try call(arguments, stdin: stdin, deadline: deadline)
    }

    @discardableResult
    func call(_ arguments: [String], stdin: Data = Data(), deadline: Double = 60) throws -> CommandResult {
        let result = try run(
            [program] + arguments, environment: environment, stdin: stdin, deadline: deadline)
        #expect(
            !result.overdue, "ckpt \(arguments.joined(separator: " ")) took over \(deadline) s\n\(result)")
        return result
    }

    /// Runs `ckpt ARGUMENTS`, which must succeed.
    @discardableResult
    func ok(_ arguments: String..., stdin: Data = Data(), deadline: Double = 60) throws -> CommandResult {
        try succeed(arguments, stdin: stdin, deadline: deadline)
    }

    @discardableResult
    func succeed(_ arguments: [String], stdin: Data = Data(), deadline: Double = 60) throws -> CommandResult {
        let result = try call(arguments, stdin: stdin, deadline: deadline)
        guard result.status == 0, !result.overdue else {
            throw HarnessError(
                "ckpt \(arguments.joined(separator: " ")): \(result)\nserver's log:\n\(serverLog)")
        }
        return result
    }

    /// Starts `ckpt ARGUMENTS` and does not wait.
    func start(_ arguments: String..., stdin: Data? = Data()) throws -> RunningCommand {
        try RunningCommand([program] + arguments, environment: environment, stdin: stdin)
    }

    /// Runs `ckpt ARGUMENTS --json` and reads the answer.
    func json<T: Decodable>(_ type: T.Type, _ arguments: [String], deadline: Double = 60) throws -> T {
        let dash = arguments.firstIndex(of: "--") ?? arguments.endIndex
        let flagged = arguments[..<dash] + ["--json"] + arguments[dash...]
        let result = try succeed(Array(flagged), deadline: deadline)
        do {
            return try JSONDecoder().decode(T.self, from: result.stdoutData)
        } catch {
            throw HarnessError("ckpt \(arguments.joined(separator: " ")) --json: \(error)\n\(result)")
        }
    }

    /// A new sandbox.
    func create(_ name: String, _ options: String...) throws -> Sandbox {
        try create(name, options: options)
    }

    func create(_ name: String, options: [String]) throws -> Sandbox {
        try succeed(["create", name] + options)
        rememberServer()
        return Sandbox(ckpt: self, name: name)
    }

    /// New sandboxes from a snapshot or a sandbox.
    func fork(_ source: String, count: Int = 1, name: String? = nil) throws -> [Sandbox] {
        var arguments = ["fork", source, "-n", String(count)]
        if let name { arguments += ["--name", name] }
        let result = try json(ForkResult.self, arguments)
        rememberServer()
        guard result.sandboxes.count == count else {
            throw HarnessError("fork -n \(count) made \(result.sandboxes.map(\.name))")
        }
        return result.sandboxes.map { Sandbox(ckpt: self, name: $0.name) }
    }

    func sandboxes() throws -> [SandboxInfo] { try json(SandboxList.self, ["ps"]).sandboxes }
    func tree() throws -> TreeInfo { try json(TreeInfo.self, ["tree"]) }
    func show(_ reference: String) throws -> SnapshotInfo {
        try json(SnapshotInfo.self, ["show", reference])
    }

    /// The server's pid from its pid file; nil where none runs.
    var serverPID: pid_t? {
        guard let text = try? String(contentsOfFile: "\(root)/server.pid", encoding: .utf8),
            let pid = pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)),
            kill(pid, 0) == 0
        else { return nil }
        return pid
    }

    /// The last lines of the server's log, for a failure's message.
    var serverLog: String {
        let text = (try? String(contentsOfFile: "\(root)/server.log", encoding: .utf8)) ?? "(no server.log)"
        return text.split(separator: "\n").suffix(25).joined(separator: "\n")
    }

    /// What lies half-made in the root, or is being removed; must become empty when nothing is under way.
    var staging: [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: "\(root)/staging")) ?? []
    }

    /// What a save has staged and not yet published.
    var halfMade: [String] { staging.filter { !$0.hasPrefix("trash-") } }

    /// Notes the server that runs now, so that `Leftovers` can look for it later.
    func rememberServer() {
        guard let pid = serverPID else { return }
        lock.withLock { _ = seenServers.insert(pid) }
    }

    /// The servers that ran for this root, as far as they were noted.
    var servers: Set<pid_t> { lock.withLock { seenServers } }
}

/// Gives the body a `ckpt` of its own; afterwards takes everything down and checks that nothing is left.
func withCkpt(
    root: String? = nil, program: String? = nil, environment: [String: String] = [:],
    _ body: (Ckpt) throws -> Void
) throws {
    let ckpt = try Ckpt(root: root, program: program, environment: environment)
    do {
        try body(ckpt)
    } catch {
        Issue.record("\(error)")
        Issue.record("server's log:\n\(ckpt.serverLog)")
    }
    ckpt.rememberServer()
    if program == nil { SnapshotSchema.check(ckpt) }
    let names = ((try? ckpt.sandboxes()) ?? []).map(\.name)
    if !names.isEmpty { #expect(try ckpt.call(["rm", "-f"] + names).status == 0, "rm -f \(names)") }
    // What was removed is emptied in the background.
    #expect(eventually { ckpt.staging.isEmpty }, "staging keeps \(ckpt.staging)")
    if ckpt.serverPID != nil {
        let stopped = try ckpt("serve", "--stop")
        #expect(stopped.status == 0, "serve --stop: \(stopped)")
    }
    Leftovers.check(ckpt)
    if root == nil {
        do { try FileManager.default.removeItem(atPath: ckpt.root) } catch {
            Issue.record("\(ckpt.root) cannot be removed: \(error)")
        }
    }
}
