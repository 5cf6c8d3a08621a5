import Glibc
public import LinuxSystem
public import Messages

/// What can go wrong between a spec and a running sandbox.
public enum RuntimeError: Error, Sendable {
    /// The base directory is not there or is none.
    case noBase(path: String, reason: String)
    /// A directory, file or device of the host that a spec names cannot be used.
    case noSource(path: String, reason: String)
    /// Nothing can be mounted at a path inside.
    case badPlace(path: String, reason: String)
    /// ckpt-init is not beside the binary.
    case noInit(searched: [String])
    /// pasta, which `nat` needs, is not on this machine.
    case noPasta(searched: [String])
    /// pasta does not do its work.
    case pasta(reason: String)
    /// A port of the host that was to lead into the sandbox cannot be had.
    case portTaken(PortForward, port: UInt16, code: Int32)
    /// A step of starting the sandbox failed, outside or inside.
    case start(step: String, code: Int32)
    /// A seccomp profile says what cannot be done; where in it, and why.
    case badProfile(String, String)
    /// A network has no such kernel parameter, or it does not take the value.
    case badSysctl(name: String)
    /// A limit is above the highest that this server may give.
    case limitTooHigh(Ulimit, highest: UInt64)
    /// A memory score is below the lowest that this server may give.
    case memoryScoreTooLow(Int)
    /// A limit cannot be set.
    case limit(ErrorMessage)
    /// A system call failed on the way.
    case system(SystemError)

    /// The error as the API tells it.
    public var message: ErrorMessage {
        switch self {
        case .noBase(let path, let reason):
            ErrorMessage(
                .notFound, "the base \(path) cannot be used: \(reason)",
                hint: "give an existing directory that holds a root filesystem, or host")
        case .noSource(let path, let reason):
            ErrorMessage(
                .notFound, "\(path) of the host cannot be shown inside: \(reason)",
                hint: "volumes are HOST:BOX[:ro|rw|cow], devices HOST[:BOX][:rwm], where HOST must exist")
        case .badPlace(let path, let reason):
            ErrorMessage(
                .badValue, "nothing can be mounted on \(path): \(reason)",
                hint: "choose another path inside")
        case .noInit(let searched):
            ErrorMessage(
                .notInstalled, "ckpt-init is not installed: looked at \(searched.joined(separator: ", "))",
                hint: "run scripts/build-init, or set CKPT_INIT")
        case .noPasta(let searched):
            ErrorMessage(
                .notInstalled, "--net nat needs pasta: looked at \(searched.joined(separator: ", "))",
                hint: "install the package passt, or use --net none or host")
        case .pasta(let reason):
            ErrorMessage(
                .internal, "the sandbox gets no way out: pasta failed",
                hint: "ckpt doctor; --net none needs none",
                cause: reason)
        case .portTaken(let forward, let port, let code):
            ErrorMessage(
                code == EADDRINUSE ? .inUse : code == EACCES ? .notPermitted : .badValue,
                "the host's port \(forward.address.map { "\($0) " } ?? "")\(port)/\(forward.transport) "
                    + "cannot be forwarded to port \(forward.boxPort)",
                hint: "choose another, or leave the host's port out for a free one",
                cause: code == EADDRINUSE ? "another program listens there" : String(cString: strerror(code)))
        case .start(let step, let code):
            ErrorMessage(
                Self.kind(code), "the sandbox could not be started: \(step)",
                hint: code == EPERM ? "ckpt must run as root with CAP_SYS_ADMIN" : nil,
                cause: String(cString: strerror(code)))
        case .badProfile(let place, let reason):
            ErrorMessage(
                .badValue,
                "the seccomp profile cannot be used: \(place.isEmpty ? "the text" : place): \(reason)",
                hint: "give a profile in Docker's JSON format, or default or unconfined")
        case .badSysctl(let name):
            ErrorMessage(
                .badValue, "the kernel parameter \(name) of a sandbox's network cannot be set so",
                hint: "sysctl -N shows the names here; some belong to the host's network alone")
        case .limitTooHigh(let limit, let highest):
            ErrorMessage(
                .badValue,
                "the limit \(limit.name) cannot be \(limit.hard.map(String.init) ?? "unlimited"): "
                    + "the server's own hard limit is \(highest)",
                hint: "ask for \(highest) at most, or start ckpt serve with a higher one "
                    + "(prlimit --\(limit.name)=…, or its LimitXXX= in systemd)")
        case .memoryScoreTooLow(let score):
            ErrorMessage(
                .notPermitted, "the memory score \(score) is lower than the server may give",
                hint: "give a higher --oom-score-adj, or run ckpt serve with CAP_SYS_RESOURCE")
        case .limit(let error): error
        case .system(let error):
            ErrorMessage(
                Self.kind(error.code), "the sandbox's root filesystem cannot be made",
                hint: Self.remedy(error.code), cause: error.description)
        }
    }

    /// What to do about an errno, where that is known.
    public static func remedy(_ code: Int32) -> String? {
        switch code {
        case EMFILE:
            "the server may have no more descriptors open: ckpt rm sandboxes, or start it with a higher limit "
                + "(ulimit -n, or its LimitNOFILE= in systemd)"
        case ENFILE: "the machine has no more descriptors: see /proc/sys/fs/file-nr"
        default: SystemError.remedy(code)
        }
    }

    /// The stable code that goes with an errno.
    public static func kind(_ code: Int32) -> ErrorMessage.Code {
        switch code {
        case ENOSPC, EDQUOT, EMFILE, ENFILE: .noSpace
        case EPERM, EACCES: .notPermitted
        default: .internal
        }
    }
}

/// Runs system calls and wraps what they throw.
func system<Result: ~Copyable>(_ body: () throws(SystemError) -> Result) throws(RuntimeError) -> Result {
    do { return try body() } catch { throw .system(error) }
}
