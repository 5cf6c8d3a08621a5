/// `POST /v1/sandboxes/{name}/exec`, and the first frame of an exec stream.
public struct ExecRequest: Codable, Sendable {
    /// The caller's own name for this command, 1 to 64 of `[A-Za-z0-9_-]`. A second request with the same id
    /// attaches to the command instead of starting it again, so a request may be repeated after a lost
    /// connection. One is made up when nil.
    public var id: String?
    /// The program and its arguments. In a session they are joined by spaces and run as shell text.
    public var argv: [String]
    /// The same, or a text for a shell (bash where the sandbox has one, else /bin/sh); instead of `argv`.
    public var command: CommandText?
    /// The session whose bash runs the text; nil starts a fresh process.
    public var session: String?
    public var cwd: String?
    /// Environment on top of the sandbox's.
    public var env: [String: String]?
    /// `name`, `uid`, `name:group` or `uid:gid`, looked up inside the sandbox; root when nil.
    public var user: String?
    /// Seconds until the command and what it started are killed; nil for no limit.
    public var timeout: Double?
    /// What the command reads on stdin, in base64 (buffered exec only); empty stdin when nil.
    public var stdin: String?
    /// Whether stdin frames follow (exec stream only).
    public var interactive: Bool?
    /// Whether it gets a terminal; stderr then comes with stdout.
    public var tty: Bool?
    /// The terminal's size in characters.
    public var rows: UInt16?
    public var columns: UInt16?
    /// How much of each stream the caller has already, in bytes (exec stream only, when attaching again).
    public var stdoutOffset: UInt64?
    public var stderrOffset: UInt64?
    /// Bytes of each stream that are passed on; the command goes on to its end beyond that. Buffered exec has a
    /// default, `ExecRequest.bufferedOutput`, which is also the most it takes.
    public var maxOutput: UInt64?
    /// Whether the sandbox is saved, tagged `crash-…`, when the command or what it started is about to die of a fatal
    /// signal; nil for what its spec says.
    public var saveOnCrash: Bool?

    /// What a buffered exec keeps of each stream, in bytes.
    public static let bufferedOutput: UInt64 = 32 << 20

    public init(argv: [String]) { self.argv = argv }
    /// Text for a shell.
    public init(shell text: String) {
        argv = []
        command = .text(text)
    }
}

/// A command as a list or as text.
public enum CommandText: Codable, Hashable, Sendable {
    /// A program and its arguments.
    case list([String])
    /// Text for a shell.
    case text(String)

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let text = try? container.decode(String.self) {
            self = .text(text)
        } else {
            self = .list(try container.decode([String].self))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .list(let words): try container.encode(words)
        case .text(let text): try container.encode(text)
        }
    }
}

extension ExecRequest {
    /// Reads a request of which any field may be missing.
    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        argv = try fields.decodeIfPresent([String].self, forKey: .argv) ?? []
        command = try fields.decodeIfPresent(CommandText.self, forKey: .command)
        id = try fields.decodeIfPresent(String.self, forKey: .id)
        session = try fields.decodeIfPresent(String.self, forKey: .session)
        cwd = try fields.decodeIfPresent(String.self, forKey: .cwd)
        env = try fields.decodeIfPresent([String: String].self, forKey: .env)
        user = try fields.decodeIfPresent(String.self, forKey: .user)
        timeout = try fields.decodeIfPresent(Double.self, forKey: .timeout)
        stdin = try fields.decodeIfPresent(String.self, forKey: .stdin)
        interactive = try fields.decodeIfPresent(Bool.self, forKey: .interactive)
        tty = try fields.decodeIfPresent(Bool.self, forKey: .tty)
        rows = try fields.decodeIfPresent(UInt16.self, forKey: .rows)
        columns = try fields.decodeIfPresent(UInt16.self, forKey: .columns)
        stdoutOffset = try fields.decodeIfPresent(UInt64.self, forKey: .stdoutOffset)
        stderrOffset = try fields.decodeIfPresent(UInt64.self, forKey: .stderrOffset)
        maxOutput = try fields.decodeIfPresent(UInt64.self, forKey: .maxOutput)
        saveOnCrash = try fields.decodeIfPresent(Bool.self, forKey: .saveOnCrash)
    }
}

/// How a command ended. Buffered exec carries the output too; the last frame of a stream does not.
public struct ExecResult: Codable, Sendable {
    public var id: String
    /// The exit code, 128 + N when signal N killed it, 124 when it ran out of time.
    public var exitCode: Int32
    /// The signal that killed it.
    public var signal: Int32?
    public var timedOut: Bool
    /// Whether the kernel killed it, or one of its kind at that time, because the limit of memory was reached.
    public var oomKilled: Bool
    /// Whether it printed more than was asked for, or than a buffered exec keeps.
    public var truncated: Bool
    /// From start to exit, in milliseconds.
    public var durationMs: Double
    /// The output as UTF-8 text; nil when it is no UTF-8, or JSON would add more than 16 MiB of escapes to it (see the
    /// Base64 twin).
    public var stdout: String?
    public var stderr: String?
    /// The output in base64, only where there is no text.
    public var stdoutBase64: String?
    public var stderrBase64: String?

    public init(id: String, exitCode: Int32, signal: Int32?, timedOut: Bool, durationMs: Double) {
        self.id = id
        self.exitCode = exitCode
        self.signal = signal
        self.timedOut = timedOut
        truncated = false
        oomKilled = false
        self.durationMs = durationMs
    }
}

/// The frames of an exec stream, after `GET /v1/sandboxes/{name}/attach` with `Upgrade: ckpt-exec`.
///
/// A frame is a 4-byte big-endian payload length, one type byte and the payload (1 MiB at most).
public enum ExecFrame {
    /// What the `Upgrade` header says, both ways.
    public static let protocolName = "ckpt-exec"
    /// Client to server.
    public enum FromClient: UInt8, Sendable {
        /// `ExecRequest` as JSON; always first, exactly once.
        case request = 0
        /// 8-byte big-endian offset in the stdin stream, then bytes.
        case stdin = 1
        /// No more stdin; empty.
        case stdinEnd = 2
        /// 4-byte big-endian signal number for the command's process group.
        case signal = 3
        /// Rows and columns, 2 bytes big-endian each.
        case resize = 4
    }
    /// Server to client.
    public enum FromServer: UInt8, Sendable {
        /// 8-byte big-endian offset in the stream, then bytes.
        case stdout = 1
        case stderr = 2
        /// `ExecResult` as JSON; the last frame.
        case exit = 3
        /// `ErrorMessage` as JSON; the last frame.
        case error = 4
        /// The command runs: `{"id": …, "stdinOffset": N}`; N is how much stdin has already arrived.
        case started = 5
        /// 8-byte big-endian offset: stdin up to here has arrived in the sandbox.
        case stdinAck = 6
    }
    /// The largest payload of a frame, in bytes.
    public static let maximumPayload = 1 << 20
    /// How much stdin a client may have sent beyond the last `stdinAck`, in bytes; it keeps that much to
    /// send again after a lost connection.
    public static let stdinWindow = 256 << 10
}

/// The payload of a `started` frame.
public struct ExecStarted: Codable, Sendable {
    public var id: String
    public var stdinOffset: UInt64
    public init(id: String, stdinOffset: UInt64) {
        self.id = id
        self.stdinOffset = stdinOffset
    }
}
