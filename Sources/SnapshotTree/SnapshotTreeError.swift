public import LinuxSystem
public import Messages

/// Why the snapshot tree refused or failed.
public enum SnapshotTreeError: Error, Equatable, Sendable {
    /// No snapshot goes by this reference: neither an id, a tag, a sandbox's name nor a prefix.
    case unknownReference(String)
    /// A prefix that fits several snapshots; their ids, oldest first.
    case ambiguous(String, candidates: [String])
    /// Text that cannot be a reference, and what is wrong with it.
    case badReference(String, reason: String)
    /// `~N` that climbs beyond the root: the snapshot it started at has only `available` ancestors.
    case noAncestor(reference: String, available: Int)
    /// Text that cannot be a tag, and what is wrong with it.
    case badTag(String, reason: String)
    /// A tag that another snapshot carries.
    case tagTaken(String, by: String)
    /// A tag that no snapshot carries.
    case unknownTag(String)
    /// A snapshot that cannot go because its children need it.
    case neededByChildren(String, children: [String])
    /// A snapshot that cannot go because sandboxes stand on it.
    case standing(String, sandboxes: [String])
    /// A manifest that does not fit what is on disk, for example a layer that is gone.
    case badManifest(String)
    /// The disk or a quota is full.
    case noSpace(SystemError)
    /// A store, catalog or manifest of another format than this ckpt reads and writes.
    case versionMismatch(what: String, found: String, expected: String)
    /// Another process works on this store.
    case storeInUse(root: String)
    /// Something in the store cannot be read any more.
    case damaged(what: String, reason: String)
    /// A file of a snapshot that is not what was saved: its path below the store, and what is wrong with it.
    case damagedSnapshot(String, path: String, problem: String)
    /// An archive that cannot be imported, and why; nothing of it is left.
    case badArchive(String)
    /// An archive that needs what this store has not; what, in words.
    case incompleteArchive(String)
    /// A snapshot or a layer of the same id is here and is another one.
    case otherContent(String)
    /// A snapshot that is being imported already.
    case importUnderWay(String)
    /// An archive that could not be written, and why.
    case notArchived(String)
    /// SQLite failed: its extended result code, and its own words.
    case catalog(code: Int32, text: String)
    /// A system call failed.
    case system(SystemError)

    /// Wraps a failed system call; a full disk and a full quota get a case of their own.
    public init(_ error: SystemError) {
        self = error.isNoRoom ? .noSpace(error) : .system(error)
    }
}

extension SnapshotTreeError {
    /// The error as it crosses the API.
    public var message: ErrorMessage {
        switch self {
        case .unknownReference, .ambiguous, .badReference, .noAncestor: referenceMessage
        case .badTag, .tagTaken, .unknownTag: tagMessage
        case .neededByChildren(let id, let children):
            ErrorMessage(
                .inUse, "snapshot \(id) has children: \(listed(children))",
                hint: "--keep-children deletes it alone, --subtree all of them")
        case .standing(let id, let sandboxes):
            ErrorMessage(
                .inUse, "sandboxes stand on snapshot \(id): \(listed(sandboxes))",
                hint: "remove them, or restore them to another snapshot")
        case .badManifest(let reason):
            ErrorMessage(.internal, "the snapshot cannot be published: \(reason)")
        case .noSpace(let error):
            ErrorMessage(
                .noSpace, "there is no space left for the snapshot store", hint: error.remedy,
                cause: error.description)
        case .versionMismatch(let what, let found, let expected):
            ErrorMessage(
                .versionMismatch, "\(what) has format \(found), this ckpt reads format \(expected)",
                hint: "use the ckpt that made it, or another --root")
        case .storeInUse(let root):
            ErrorMessage(
                .inUse, "another process works on the store \(root)",
                hint: "one server works on a root; end the other one or use another --root")
        case .damaged(let what, let reason):
            ErrorMessage(
                .internal, "\(what) is damaged", hint: "restart the server: it rebuilds the catalog",
                cause: reason)
        case .damagedSnapshot(let id, let path, let problem):
            ErrorMessage(
                .cannotRestore, "snapshot \(id) is damaged: \(path) \(problem)",
                hint: "ckpt verify finds all damage; restore a snapshot that has none")
        case .badArchive, .incompleteArchive, .otherContent, .importUnderWay, .notArchived: archiveMessage
        case .catalog(_, let text):
            ErrorMessage(.internal, "the catalog failed", cause: text)
        case .system(let error):
            ErrorMessage(
                error.isPermission ? .notPermitted : .internal, "the snapshot store failed",
                hint: error.remedy, cause: error.description)
        }
    }

    private var referenceMessage: ErrorMessage {
        switch self {
        case .ambiguous(let prefix, let candidates):
            ErrorMessage(
                .ambiguous, "\(prefix) fits several snapshots: \(listed(candidates))",
                hint: "give more of the id")
        case .badReference(let text, let reason):
            ErrorMessage(
                .badValue, "\(quoted(text)) is no snapshot reference: \(reason)",
                hint: "an id, a prefix of one, a tag or a sandbox's name, and ~N for the Nth ancestor")
        case .noAncestor(let reference, let available):
            ErrorMessage(
                .unknownSnapshot, "\(reference) is beyond the root",
                hint: available == 0 ? "that snapshot is a root itself" : "the root is ~\(available)")
        case .unknownReference(let text):
            ErrorMessage(
                .unknownSnapshot, "there is no snapshot \(quoted(text))", hint: "ckpt tree lists them")
        default: preconditionFailure("no error about a reference")
        }
    }

    private var archiveMessage: ErrorMessage {
        switch self {
        case .badArchive(let reason):
            ErrorMessage(
                .badValue, "the archive is refused: \(reason)",
                hint: "nothing of it was kept; export it again")
        case .incompleteArchive(let missing):
            ErrorMessage(
                .badValue, "the archive leaves out \(missing), which is not here",
                hint: "export it without --have and --without, or import what it builds on first")
        case .otherContent(let what):
            ErrorMessage(
                .nameTaken, "\(what) is here already and is another one",
                hint: "import it into another store with --root, or delete the one that is here")
        case .importUnderWay(let id):
            ErrorMessage(
                .inUse, "snapshot \(id) is being imported already", hint: "wait for the other import")
        case .notArchived(let reason): ErrorMessage(.internal, "the archive cannot be written: \(reason)")
        default: preconditionFailure("no error about an archive")
        }
    }

    private var tagMessage: ErrorMessage {
        switch self {
        case .badTag(let tag, let reason):
            ErrorMessage(.badValue, "\(quoted(tag)) cannot be a tag: \(reason)")
        case .tagTaken(let tag, let owner):
            ErrorMessage(
                .nameTaken, "the tag \(tag) is taken by snapshot \(owner)",
                hint: "take it away there first, or choose another one")
        case .unknownTag(let tag):
            ErrorMessage(.notFound, "there is no tag \(quoted(tag))", hint: "ckpt tree shows the tags")
        default: preconditionFailure("no error about a tag")
        }
    }
}

extension SnapshotTreeError: CustomStringConvertible {
    /// The one line a person reads.
    public var description: String { message.description }
}

/// At most ten names in a row, and how many were left off.
private func listed(_ names: [String]) -> String {
    let shown = names.prefix(10).joined(separator: ", ")
    return names.count > 10 ? "\(shown) and \(names.count - 10) more" : shown
}

/// The text in quotes, cut to a length a message can bear.
private func quoted(_ text: String) -> String {
    text.count > 80 ? "\"\(text.prefix(80))…\"" : "\"\(text)\""
}
