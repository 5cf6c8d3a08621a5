/// An error as it crosses the API: `{"error": {code, message, hint, cause}}`.
public struct ErrorMessage: Error, Codable, Hashable, Sendable {
    /// What kind of error it is; stable, for programs.
    public var code: Code
    /// What happened and why, one sentence for people, without a full stop.
    public var message: String
    /// What to do about it, where we know.
    public var hint: String?
    /// The error underneath, in its own words.
    public var cause: String?

    /// An error for the API.
    public init(_ code: Code, _ message: String, hint: String? = nil, cause: String? = nil) {
        self.code = code
        self.message = message
        self.hint = hint
        self.cause = cause
    }

    /// The kinds of error.
    public enum Code: String, Codable, Sendable, CaseIterable {
        /// A request that cannot be understood (HTTP 400).
        case badRequest = "bad_request"
        /// A value out of its range or form (HTTP 400).
        case badValue = "bad_value"
        /// No sandbox of that name (HTTP 404).
        case unknownSandbox = "unknown_sandbox"
        /// No snapshot by that reference (HTTP 404).
        case unknownSnapshot = "unknown_snapshot"
        /// No such route, command or file (HTTP 404).
        case notFound = "not_found"
        /// A prefix that fits several snapshots (HTTP 409).
        case ambiguous
        /// A name or tag that is taken (HTTP 409).
        case nameTaken = "name_taken"
        /// Something else needs it: children, live sandboxes, another operation (HTTP 409).
        case inUse = "in_use"
        /// The sandbox is not in a state for this: dead, stopped (HTTP 409).
        case wrongState = "wrong_state"
        /// A process holds something CRIU cannot save (HTTP 422).
        case cannotSave = "cannot_save"
        /// A process image that could not be restored (HTTP 422).
        case cannotRestore = "cannot_restore"
        /// The disk, a quota or a table is full (HTTP 507).
        case noSpace = "no_space"
        /// A right or a kernel feature is missing (HTTP 403).
        case notPermitted = "not_permitted"
        /// CRIU or ckpt-init is missing, or is not the pinned file (HTTP 503).
        case notInstalled = "not_installed"
        /// The client went away or pressed Ctrl-C (HTTP 499).
        case cancelled
        /// A store or protocol of another version (HTTP 409).
        case versionMismatch = "version_mismatch"
        /// Anything else: a bug or a broken system (HTTP 500).
        case `internal`
    }

    /// The HTTP status that goes with the code.
    public var httpStatus: Int {
        switch code {
        case .badRequest, .badValue: 400
        case .notPermitted: 403
        case .unknownSandbox, .unknownSnapshot, .notFound: 404
        case .ambiguous, .nameTaken, .inUse, .wrongState, .versionMismatch: 409
        case .cannotSave, .cannotRestore: 422
        case .cancelled: 499
        case .notInstalled: 503
        case .noSpace: 507
        case .internal: 500
        }
    }
}

/// The body of every answer that is no success: `{"error": …}`.
public struct ErrorEnvelope: Codable, Sendable {
    public var error: ErrorMessage
    public init(error: ErrorMessage) { self.error = error }
}

extension ErrorMessage: CustomStringConvertible {
    /// The one line a person reads: `what happened: why (hint: what to do)`.
    public var description: String {
        var text = message
        if let cause, !cause.isEmpty { text += ": \(cause)" }
        if let hint, !hint.isEmpty { text += " (hint: \(hint))" }
        return text
    }
}
