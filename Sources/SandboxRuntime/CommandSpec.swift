import CLinux

/// A command for a sandbox with everything decided: what PID 1 needs to start it.
public struct CommandSpec: Sendable, Equatable {
    /// What reads the command's stdin and shows its output.
    public struct Terminal: Sendable, Equatable {
        public var rows: UInt16
        public var columns: UInt16
        /// A size in characters.
        public init(rows: UInt16, columns: UInt16) {
            self.rows = rows
            self.columns = columns
        }
    }

    /// Its name: 1 to 64 of `[A-Za-z0-9_-]`. Starting an id that is known attaches to it.
    public var id: String
    /// The program and its arguments; in a session one element, the shell text.
    public var arguments: [String]
    /// `NAME=VALUE` entries.
    public var environment: [String]
    public var workingDirectory: String
    /// Whether `/` will do when the working directory is missing.
    public var anyDirectory: Bool
    public var user: SandboxUser
    /// The session whose bash runs it.
    public var session: String?
    /// Whether stdin will be written; else it is /dev/null.
    public var stdin: Bool
    public var terminal: Terminal?
    /// After how long it and what it started are killed, in milliseconds.
    public var timeoutMilliseconds: UInt64?

    /// Whether `RunningCommand.waitUntilStarted` is to return at once; else it may wait for the first output or
    /// the exit, which spares the server a wake-up.
    public var announced: Bool
    /// What is held when it is about to die of a signal, and told to the channel's `crashed`.
    public var watched: Watched = .nothing
    /// Whose crashes are looked out for.
    public enum Watched: Sendable, Equatable {
        case nothing
        /// The command and all it starts.
        case command
        /// Everything in the sandbox from now on.
        case sandbox
    }
    /// Whether it is a job; see `CommandChannel.launch`.
    var isJob = false

    /// A command as root in `/` with no stdin and no limit, unless told otherwise afterwards.
    public init(id: String, arguments: [String], environment: [String] = CommandSpec.plainEnvironment) {
        self.id = id
        self.arguments = arguments
        self.environment = environment
        workingDirectory = "/"
        anyDirectory = false
        user = .root
        session = nil
        stdin = false
        terminal = nil
        timeoutMilliseconds = nil
        announced = true
    }

    /// Where programs are looked for when nobody says otherwise.
    public static let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    /// The locale where nobody names one: UTF-8, and only the category in which C.UTF-8 differs from C. With `LANG`
    /// every program would map nine files more, 0.2 ms for each that is started.
    public static let locale = "C.UTF-8"
    /// The least a command needs.
    public static let plainEnvironment = ["PATH=\(path)", "HOME=/root", "LC_CTYPE=\(locale)"]

    /// The flags of `ckpt_spawn`.
    var flags: Int {
        (stdin ? CKPT_SPAWN_STDIN : 0) | (terminal != nil ? CKPT_SPAWN_TTY : 0)
            | (session != nil ? CKPT_SPAWN_SESSION : 0) | (anyDirectory ? CKPT_SPAWN_ANY_CWD : 0)
            | (isJob ? CKPT_SPAWN_JOB : 0) | (announced ? 0 : CKPT_SPAWN_QUIET)
            | (watched == .command ? CKPT_SPAWN_WATCH : watched == .sandbox ? CKPT_SPAWN_WATCH_ALL : 0)
    }

    /// Refuses what PID 1 could not make sense of.
    func validate() throws(CommandError) {
        guard Self.isName(id) else { throw .badRequest("a command's id is 1 to 64 of [A-Za-z0-9_-]: \(id)") }
        guard !arguments.isEmpty else { throw .badRequest("a command needs a program") }
        if let session {
            guard Self.isName(session) else {
                throw .badRequest("a session's name is 1 to 64 of [A-Za-z0-9_-]: \(session)")
            }
            guard terminal == nil, !stdin, arguments.count == 1 else {
                throw .badRequest("a call in a session has neither stdin nor a terminal")
            }
        }
        let strings = arguments + environment + [workingDirectory]
        guard strings.allSatisfy({ !$0.utf8.contains(0) }) else {
            throw .badRequest("an argument or environment entry contains a NUL byte")
        }
        let size = strings.reduce(0) { $0 + $1.utf8.count + 1 }
        guard size + 8192 <= CKPT_INIT_PAYLOAD, strings.count <= CKPT_INIT_STRINGS else {
            throw .badRequest("arguments and environment are larger than 4 MiB together")
        }
        guard user.groups.count <= CKPT_INIT_GROUPS else { throw .badRequest("the user has too many groups") }
    }

    /// Whether PID 1 takes it for an id or a session's name.
    static func isName(_ text: String) -> Bool {
        (1...CKPT_INIT_NAME).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                switch $0 {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
                    true
                default: false
                }
            }
    }
}
