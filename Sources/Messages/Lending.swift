/// What a borrower of a session is told, together with five descriptors: of the pipe to bash, of the one on which it tells
/// that it is back, of its stdout and stderr, and of the file with a call's text.
///
/// The protocol is in docs/lending.md.
public struct SessionTerms: Codable, Sendable, Equatable {
    /// The name of the protocol, in the request's `Upgrade` header.
    public static let protocolName = "ckpt-session"

    /// What has bash read the file, with its line end.
    public var line: String
    /// How many commands bash was given so far: each line is one, and ends with a prompt that tells as many.
    public var commands: UInt64

    public init(line: String, commands: UInt64) {
        self.line = line
        self.commands = commands
    }
}

/// A call of a borrowed session that is to go on as one of the sandbox's own, to be attached to by its id.
public struct CallReturn: Codable, Sendable, Equatable {
    /// 1 to 64 of `[A-Za-z0-9_-]`.
    public var id: String
    /// The number that its end tells.
    public var commands: UInt64
    /// How long it has run, in milliseconds.
    public var elapsedMs: Double
    /// How much longer it may, in milliseconds; with 0 it is ended. Missing: as long as it takes.
    public var remainingMs: Double?

    public init(id: String, commands: UInt64, elapsedMs: Double, remainingMs: Double? = nil) {
        self.id = id
        self.commands = commands
        self.elapsedMs = elapsedMs
        self.remainingMs = remainingMs
    }
}

/// A session that is lent, until it is taken back.
public protocol SessionLoan: AnyObject, Sendable {
    var terms: SessionTerms { get }
    /// When the borrower last began a call, about, in nanoseconds since 1970; nil where that is not known.
    var lastUse: Int64? { get }
    /// Has those sent that the borrower gets, in the order of `SessionTerms`, and closes them; once. Returns what `send` does.
    func handOver(_ send: ([Int32]) -> Bool) -> Bool
    /// Takes the session back: once its call is over, or with a call that goes on.
    func takeBack(_ call: CallReturn?) throws(ErrorMessage)
}
