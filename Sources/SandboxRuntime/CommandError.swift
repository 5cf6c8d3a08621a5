import CLinux
import Glibc
public import LinuxSystem
public import Messages

/// What can go wrong between the server and a sandbox's PID 1.
public enum CommandError: Error, Sendable, Equatable {
    /// PID 1 refused, with an errno and a reason.
    case refused(code: Int32, reason: String)
    /// The sandbox's PID 1 is not there or has gone away.
    case disconnected
    /// The sandbox was rolled back to a state that does not know the command.
    case rolledBack
    /// Somebody else has taken up the command.
    case replaced
    /// The sandbox did not answer before the deadline.
    case noAnswer
    /// PID 1 speaks another version of the protocol.
    case version(UInt32)
    /// PID 1 sent what the protocol does not know.
    case garbage
    /// Another process of the sandbox listens where PID 1 should.
    case impostor
    /// No such user or group inside the sandbox.
    case unknownUser(String)
    /// A part of the request is out of its range or form.
    case badRequest(String)
    /// A system call failed.
    case system(SystemError)

    /// The error as the API tells it.
    public var message: ErrorMessage {
        switch self {
        case .refused(let code, let reason):
            ErrorMessage(
                code == EAGAIN ? .noSpace : code == EEXIST ? .nameTaken : .internal,
                "the sandbox refused the command: \(reason)",
                cause: String(cString: strerror(code)))
        case .disconnected: ErrorMessage(.wrongState, "the sandbox's processes are gone")
        case .rolledBack:
            ErrorMessage(.wrongState, "the sandbox was rolled back to a state without this command")
        case .replaced: ErrorMessage(.inUse, "another client has attached to the command")
        case .noAnswer: ErrorMessage(.internal, "the sandbox's PID 1 does not answer")
        case .version(let number):
            ErrorMessage(.versionMismatch, "the sandbox's PID 1 speaks version \(number) of the protocol")
        case .garbage: ErrorMessage(.internal, "the sandbox's PID 1 sent what is no frame")
        case .impostor:
            ErrorMessage(
                .wrongState, "another process of the sandbox has put itself in the place of its PID 1",
                hint: "go back to a snapshot, or reset the sandbox",
                cause: "it listens on \(CKPT_INIT_SOCKET)")
        case .unknownUser(let name):
            ErrorMessage(
                .badValue, "there is no user or group \(name) in the sandbox",
                hint: "name one of its /etc/passwd and /etc/group, or give numbers")
        case .badRequest(let why): ErrorMessage(.badValue, why)
        case .system(let error):
            ErrorMessage(
                RuntimeError.kind(error.code), "the sandbox's PID 1 cannot be reached",
                hint: RuntimeError.remedy(error.code), cause: error.description)
        }
    }
}
