/// A request to CRIU that was not served, or a CRIU that could not be run.
public struct CriuError: Error, Sendable {
    /// What kind of failure it is, for callers that act on it.
    public enum Kind: String, Sendable {
        /// There is no CRIU to run.
        case binaryMissing
        /// The CRIU that was found is not the pinned one.
        case binaryWrong
        /// A worker could not be started, or ended without an answer.
        case workerFailed
        /// The tree could not be dumped; it runs on as before.
        case dumpFailed
        /// The tree could not be restored; nothing of it is left.
        case restoreFailed
        /// The caller's own notification handler threw; `cause` is what it threw.
        case stoppedByCaller
        /// The deadline passed; of a dump the tree runs on, of a restore nothing is left.
        case deadlinePassed
        /// The deadline of a dump passed and CRIU has still not let the tree go. It is not killed, for that would
        /// leave its code in the processes; the tree is frozen until it finishes, or until the tree is killed.
        case dumpStuck
    }

    public let kind: Kind
    /// What happened, in one sentence without a full stop.
    public let message: String
    /// What to do about it, where that is known.
    public let hint: String?
    /// What CRIU refused to dump, as far as its log could be understood.
    public let refusals: [CriuRefusal]
    /// The error lines of CRIU's log, oldest first, without their time stamps.
    public let log: [String]
    /// The errno that CRIU reported, where it did (its `cr_errno`).
    public let criuErrno: Int32?
    /// The error below this one, where there is one.
    public let cause: (any Error)?

    init(
        _ kind: Kind, _ message: String, hint: String? = nil, refusals: [CriuRefusal] = [],
        log: [String] = [],
        criuErrno: Int32? = nil, cause: (any Error)? = nil
    ) {
        self.kind = kind
        self.message = message
        self.hint = hint
        self.refusals = refusals
        self.log = log
        self.criuErrno = criuErrno
        self.cause = cause
    }
}

extension CriuError: CustomStringConvertible {
    public var description: String {
        let because = cause.map { ": \($0)" } ?? ""
        return "\(message)\(because)"
    }
}
