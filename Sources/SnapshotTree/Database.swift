import CSQLite
import Glibc
import LinuxSystem

/// One SQLite connection and its prepared statements; used by one thread at a time.
final class Database {
    private let handle: OpaquePointer
    /// The directory of its file.
    private let directory: String
    private var statements: [String: OpaquePointer] = [:]

    /// A value that goes into a statement.
    enum Value {
        case text(String?)
        case integer(Int64)
        case real(Double?)
    }

    /// Opens or creates the database file.
    init(path: String) throws(SnapshotTreeError) {
        // Its rows hold environments, which hold secrets; SQLite makes the files beside it with the same mode.
        // What goes wrong here SQLite meets too, and tells.
        if let file = try? Descriptor.open(path, O_RDWR | O_CREAT | O_NOFOLLOW) { fchmod(file.raw, 0o600) }
        var handle: OpaquePointer?
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX
        let status = sqlite3_open_v2(path, &handle, flags, nil)
        guard let handle, status == SQLITE_OK else {
            let text = handle.map { String(cString: sqlite3_errmsg($0)) } ?? "out of memory"
            sqlite3_close_v2(handle)
            throw .catalog(code: status, text: "\(path): \(text)")
        }
        self.handle = handle
        directory = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        sqlite3_extended_result_codes(handle, 1)
        sqlite3_busy_timeout(handle, 5_000)
    }

    deinit {
        for statement in statements.values { sqlite3_finalize(statement) }
        sqlite3_close_v2(handle)
    }

    /// Runs statements that take and give nothing.
    func execute(_ sql: String) throws(SnapshotTreeError) {
        guard sqlite3_exec(handle, sql, nil, nil, nil) == SQLITE_OK else { throw failure() }
    }

    /// Runs one statement and returns how many rows it changed.
    @discardableResult
    func run(_ sql: String, _ values: Value...) throws(SnapshotTreeError) -> Int {
        try each(sql, values) { _ in }
        return Int(sqlite3_changes(handle))
    }

    /// Runs one query and returns what `read` makes of each row.
    func rows<Element>(
        _ sql: String, _ values: Value..., read: (Row) throws(SnapshotTreeError) -> Element
    ) throws(SnapshotTreeError) -> [Element] {
        var elements: [Element] = []
        try each(sql, values) { (row) throws(SnapshotTreeError) in elements.append(try read(row)) }
        return elements
    }

    /// Runs `body` whole or not at all.
    func transaction<Result>(
        _ body: () throws(SnapshotTreeError) -> Result
    ) throws(SnapshotTreeError) -> Result {
        try execute("BEGIN IMMEDIATE")
        do {
            let result = try body()
            try execute("COMMIT")
            return result
        } catch {
            // SQLite has already rolled back by itself after some errors, a full disk among them.
            if sqlite3_get_autocommit(handle) == 0 { try? execute("ROLLBACK") }
            throw error
        }
    }

    private func each(
        _ sql: String, _ values: [Value], _ body: (Row) throws(SnapshotTreeError) -> Void
    ) throws(SnapshotTreeError) {
        let statement = try prepared(sql)
        defer {
            sqlite3_reset(statement)
            sqlite3_clear_bindings(statement)
        }
        for (index, value) in values.enumerated() { bind(value, to: statement, at: Int32(index + 1)) }
        while true {
            switch sqlite3_step(statement) {
            case SQLITE_ROW: try body(Row(statement: statement))
            case SQLITE_DONE: return
            default: throw failure()
            }
        }
    }

    private func prepared(_ sql: String) throws(SnapshotTreeError) -> OpaquePointer {
        if let statement = statements[sql] { return statement }
        var statement: OpaquePointer?
        let status = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard status == SQLITE_OK, let statement else { throw failure() }
        statements[sql] = statement
        return statement
    }

    private func bind(_ value: Value, to statement: OpaquePointer, at index: Int32) {
        // SQLITE_TRANSIENT, a macro Swift does not import: SQLite copies the text before the call returns.
        let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        switch value {
        case .text(let text?): sqlite3_bind_text(statement, index, text, Int32(text.utf8.count), transient)
        case .integer(let number): sqlite3_bind_int64(statement, index, number)
        case .real(let number?): sqlite3_bind_double(statement, index, number)
        case .text(nil), .real(nil): sqlite3_bind_null(statement, index)
        }
    }

    private func failure() -> SnapshotTreeError {
        let code = sqlite3_extended_errcode(handle)
        let text = String(cString: sqlite3_errmsg(handle))
        switch code & 0xff {
        case SQLITE_CORRUPT, SQLITE_NOTADB:
            return .damaged(what: "the catalog", reason: text)
        case SQLITE_FULL:
            return .noSpace(SystemError(call: "SQLite", code: ENOSPC, subject: "catalog.sqlite"))
        case SQLITE_IOERR, SQLITE_CANTOPEN, SQLITE_READONLY:
            let cause = SystemError(
                call: "SQLite", code: sqlite3_system_errno(handle), subject: "catalog.sqlite")
            if cause.remedy != nil { return SnapshotTreeError(cause) }
            // A full quota SQLite may meet where it keeps no errno. What is none of ours is told in its words.
            return Room.lacking(in: directory).map { SnapshotTreeError($0) }
                ?? .catalog(code: code, text: text)
        default:
            return .catalog(code: code, text: text)
        }
    }
}

/// The row a query stands on.
struct Row {
    fileprivate let statement: OpaquePointer

    func text(_ column: Int32) -> String? {
        sqlite3_column_text(statement, column).map { String(cString: $0) }
    }
    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(statement, column) }
    func real(_ column: Int32) -> Double? {
        sqlite3_column_type(statement, column) == SQLITE_NULL ? nil : sqlite3_column_double(statement, column)
    }
}
