import CLinux
import Checkpointing
import Client
import Glibc
import LinuxSystem
import Messages
import Server

/// Takes the place of the server of a root, so that nobody who calls meanwhile is turned away.
enum Replacing {
    /// How long a server may take to end the operations that run, and to flush what it stored, in milliseconds.
    static let patience: Int32 = 660_000

    /// Ends the server that runs, if one does, and returns its socket, which listened on all the while; `metrics` is
    /// where the new one is to tell its numbers.
    ///
    /// First makes sure that a server can be had at all here: throws otherwise, and the other goes on.
    static func takeSocket(
        _ call: Invocation, executable: String, metrics: String?
    ) throws -> InheritedSocket? {
        try CheckpointManager.checkPrerequisites(root: call.root, executable: executable)
        guard let client = try call.clientOfRunningServer() else { return nil }
        let pid = try client.version().pid
        let number = clinux_pidfd_open(pid)
        guard number >= 0 else { throw SystemError.last("pidfd_open") }
        let server = Descriptor(owning: number)
        let theirs = try handover(client)
        let listener = socket(of: server, theirs)
        let numbers = try listener == nil ? nil : metrics.map { try metricsSocket($0, of: server, theirs) }
        if listener == nil { call.console.note("the server (pid \(pid)) cannot hand its socket over") }
        try client.shutdown(keepingSocket: listener != nil)
        try waitForEnd(of: server, pid, milliseconds: patience, root: call.root)
        return listener.map { InheritedSocket(takingOver: $0, metrics: numbers) }
    }

    /// What the server has for the one that takes its place; nil for one of an older version.
    private static func handover(_ client: Client) throws -> HandoverInfo? {
        do throws(ErrorMessage) { return try client.handover() } catch {
            if error.code == .notFound { return nil }
            throw error
        }
    }

    /// The port for the numbers: the server's own where it is on that, so that nobody who asks meanwhile is turned away.
    private static func metricsSocket(
        _ place: String, of server: borrowing Descriptor, _ theirs: HandoverInfo?
    ) throws(ErrorMessage) -> MetricsSocket {
        do throws(ErrorMessage) { return try MetricsSocket(place) } catch {
            guard error.code == .inUse, let number = theirs?.metricsListener else { throw error }
            let duplicate = clinux_pidfd_getfd(server.raw, number)
            guard duplicate >= 0, let socket = MetricsSocket(takingOver: duplicate, at: place) else {
                throw error
            }
            return socket
        }
    }

    /// A duplicate of the socket that the server listens on.
    private static func socket(of server: borrowing Descriptor, _ theirs: HandoverInfo?) -> Int32? {
        guard let number = theirs?.listener else { return nil }
        let listener = clinux_pidfd_getfd(server.raw, number)
        guard listener >= 0 else { return nil }
        if InheritedSocket.listens(listener) { return listener }
        close(listener)
        return nil
    }

    /// Waits until a process has ended.
    static func waitForEnd(
        of server: borrowing Descriptor, _ pid: Int32, milliseconds: Int32, root: String
    ) throws {
        var ended = pollfd(fd: server.raw, events: Int16(POLLIN), revents: 0)
        guard try retrying("poll", nil, { poll(&ended, 1, milliseconds) }) > 0 else {
            throw ErrorMessage(
                .inUse, "the server (pid \(pid)) has not ended within \(milliseconds / 1000) s",
                hint: "see \(root)/server.log")
        }
    }

    /// Starts a server in the background that takes the place of the one that runs; `options` are further words for it.
    static func inBackground(_ call: Invocation, options: [String]) throws -> Int32 {
        let before = try call.clientOfRunningServer()?.version()
        var endpoint = Endpoint(
            root: call.root,
            launch: ServerLaunch(
                executable: "/proc/self/exe",
                arguments: ["serve", "--root", call.root, "--replace"] + options))
        endpoint.patience = UInt64(patience) + 30_000
        let target = endpoint
        try call.waiting("replacing the server", interrupted: .goesOn) { try target.replaceServer() }
        guard let now = try call.clientOfRunningServer()?.version() else {
            throw ErrorMessage(.internal, "the new server is gone", hint: "see \(call.root)/server.log")
        }
        let old = before.map { " in the place of \($0.version) (pid \($0.pid))" } ?? ""
        try call.console.print(now, lines: ["server \(now.version) (pid \(now.pid)) serves\(old)"])
        return 0
    }
}
