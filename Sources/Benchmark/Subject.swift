import Glibc
import Messages

/// A sandbox of the product that is measured, with its requests made beforehand.
final class Subject {
    let name: String
    private let connection: TightConnection
    private let asking: [UInt8]

    /// Speaks of the sandbox `name`, whose session answers `ask`.
    init(_ name: String, ask: String = ":", on connection: TightConnection) {
        self.name = name
        self.connection = connection
        asking = Self.sessionRequest(name, ask)
    }

    /// Makes a sandbox; the milliseconds of the call.
    func create(_ base: Base) throws(ErrorMessage) -> Double {
        let request = CreateRequest(name: name, spec: SandboxSpec(base: base))
        return try connection.exchange(TightConnection.request("POST", "/v1/sandboxes", json: request))
    }

    /// Has the session do something that tells that everything is alive; milliseconds.
    @discardableResult
    func ask() throws(ErrorMessage) -> Double { try run(asking, "its session") }

    /// Runs shell text in the session, with an `id` as a call that can be asked for once more by it; milliseconds.
    @discardableResult
    func say(_ text: String, id: String? = nil) throws(ErrorMessage) -> Double {
        try run(Self.sessionRequest(name, text, id: id), text)
    }

    /// Borrows its session, in which a call was made.
    func borrow() throws(ErrorMessage) -> BorrowedSession {
        try BorrowedSession(root: connection.root, sandbox: name, session: Self.session)
    }

    /// Whether shell text succeeds in a fresh process.
    func succeeds(_ argv: [String]) throws(ErrorMessage) -> Bool {
        try connection.exchange(TightConnection.request("POST", path("exec"), json: ExecRequest(argv: argv)))
        return connection.answerHas("\"exitCode\":0")
    }

    /// Runs a program in a fresh process; milliseconds.
    func exec(_ argv: [String]) throws(ErrorMessage) -> Double {
        try run(TightConnection.request("POST", path("exec"), json: ExecRequest(argv: argv)), argv[0])
    }

    func read(_ inside: String) throws(ErrorMessage) -> Double {
        try connection.exchange(TightConnection.request("GET", path("file?path=\(inside)&offset=0")))
    }

    func write(_ inside: String, _ bytes: [UInt8]) throws(ErrorMessage) -> Double {
        try connection.exchange(TightConnection.request("PUT", path("file?path=\(inside)"), bytes))
    }

    /// Saves it; the milliseconds of the call, and the snapshot.
    func save(_ request: SaveRequest = SaveRequest()) throws(ErrorMessage) -> (Double, SnapshotInfo) {
        let took = try connection.exchange(TightConnection.request("POST", path("save"), json: request))
        return (took, try connection.decode(SnapshotInfo.self))
    }

    /// Rolls back to a snapshot; the milliseconds of the call.
    @discardableResult
    func restore(_ snapshot: String, engine: Engine? = nil) throws(ErrorMessage) -> Double {
        let request = RestoreRequest(snapshot: snapshot, engine: engine)
        return try connection.exchange(TightConnection.request("POST", path("restore"), json: request))
    }

    /// Waits until all of its memory is there after a restore.
    func awaitMemory() throws(ErrorMessage) {
        while true {
            try connection.exchange(TightConnection.request("GET", "/v1/sandboxes/\(name)"))
            if !connection.answerHas("\"memoryToCome\":") { return }
            usleep(2000)
        }
    }

    @discardableResult
    func reset() throws(ErrorMessage) -> Double {
        try connection.exchange(TightConnection.request("POST", path("reset")))
    }

    @discardableResult
    func remove() throws(ErrorMessage) -> Double {
        try connection.exchange(TightConnection.request("DELETE", "/v1/sandboxes/\(name)?force=true"))
    }

    private func path(_ what: String) -> String { "/v1/sandboxes/\(name)/\(what)" }

    private func run(_ request: [UInt8], _ what: String) throws(ErrorMessage) -> Double {
        let took = try connection.exchange(request)
        guard connection.answerHas("\"exitCode\":0") else {
            let result = try connection.decode(ExecResult.self)
            throw ErrorMessage(
                .internal, "\(what) in \(name) ended with \(result.exitCode)", cause: result.stderr)
        }
        return took
    }

    private static let session = "bench"

    private static func sessionRequest(_ name: String, _ text: String, id: String? = nil) -> [UInt8] {
        var request = ExecRequest(shell: text)
        (request.session, request.id) = (session, id)
        return TightConnection.request("POST", "/v1/sandboxes/\(name)/exec", json: request)
    }
}

extension TightConnection {
    /// Deletes a snapshot and all below it.
    func delete(_ snapshot: String) throws(ErrorMessage) {
        try exchange(Self.request("DELETE", "/v1/snapshots/\(snapshot)?subtree=true"))
    }
}
