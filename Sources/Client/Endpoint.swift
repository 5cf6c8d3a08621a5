public import Messages
import Glibc
import LinuxSystem

/// How a server is started when none listens.
public struct ServerLaunch: Sendable {
    /// The program's path.
    public var executable: String
    /// Its arguments, without argv[0]; `--ready-fd 3` is added. Descriptor 3 is a pipe on which it writes `+`
    /// once it listens, or an `ErrorMessage` as JSON.
    public var arguments: [String]

    /// Starts `executable` with `arguments`.
    public init(executable: String, arguments: [String]) {
        self.executable = executable
        self.arguments = arguments
    }

    /// This very program as `serve --root ROOT`.
    public static func ownProgram(root: String) -> ServerLaunch {
        ServerLaunch(executable: "/proc/self/exe", arguments: ["serve", "--root", root])
    }
}

/// Where the server of one root is found, and how it is started when it is not there.
public struct Endpoint: Sendable {
    /// An absolute path.
    public let root: String
    /// nil never starts a server.
    public let launch: ServerLaunch?
    /// How long a server may take to listen, and an exec stream to find a server again, in milliseconds.
    public var patience: UInt64 = 30_000

    /// The server at `root`.
    public init(root: String, launch: ServerLaunch?) {
        self.root = root
        self.launch = launch
    }

    /// Connects, starting a server where none listens and a launch is given.
    func connect() throws(ErrorMessage) -> Descriptor {
        if let socket = try connectOnce() { return socket }
        guard let launch else {
            throw ErrorMessage(
                .notFound, "no server listens on \(root)/server.sock", hint: "start one with ckpt serve")
        }
        return try ServerStart(endpoint: self, launch: launch).run()
    }

    /// Starts a server in the background by `launch`, whose arguments tell it to take the place of the one that runs, and
    /// waits until it serves. Throws what that one says when it cannot.
    public func replaceServer() throws(ErrorMessage) {
        guard let launch else { throw ErrorMessage(.internal, "there is no server to start") }
        try ServerStart(endpoint: self, launch: launch).replace()
    }

    /// Whether a server accepts connections at this moment.
    var isListening: Bool {
        guard let socket = try? connectOnce() else { return false }
        _ = consume socket
        return true
    }

    /// Connects; nil when nobody listens.
    func connectOnce() throws(ErrorMessage) -> Descriptor? {
        do throws(SystemError) {
            let directory = try Descriptor.open(root, O_PATH | O_DIRECTORY)
            return try UnixSocket.connect("server.sock", in: directory, at: root)
        } catch {
            switch error.code {
            case ENOENT, ECONNREFUSED: return nil
            case EACCES, EPERM:
                throw ErrorMessage(
                    .notPermitted, "\(root)/server.sock is another user's",
                    hint: "choose a root of your own with --root or CKPT_ROOT", cause: "\(error)")
            case ENOTDIR:
                throw ErrorMessage(
                    .badValue, "\(root) cannot be a root: it is no directory, or lies in none",
                    hint: "choose another root with --root or CKPT_ROOT", cause: "\(error)")
            default: throw ErrorMessage(.internal, "cannot connect to the server", cause: "\(error)")
            }
        }
    }
}
