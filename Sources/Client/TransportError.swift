import LinuxSystem
import Messages

/// What can go wrong between this process and the server, apart from the server's own errors.
enum TransportError: Error {
    /// The connection broke. `untouched` says that the server cannot have acted on the request: it never got
    /// all of it.
    case lost(String, untouched: Bool)
    /// The other side does not speak HTTP as the server does.
    case violation(String)
    /// A file of ours, not the connection.
    case local(SystemError)

    /// As the caller of the API shall see it.
    var message: ErrorMessage {
        switch self {
        case .lost(let how, _):
            ErrorMessage(
                .internal, "the connection to the server broke before its answer was complete",
                hint: "what was asked for may or may not have been done", cause: how)
        case .local(let error): ErrorMessage(.internal, "the local end of the archive", cause: "\(error)")
        case .violation(let what):
            ErrorMessage(
                .versionMismatch, "the server's answer cannot be understood",
                hint: "is it a ckpt of another version?", cause: what)
        }
    }
}
