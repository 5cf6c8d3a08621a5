import CLinux

/// What a sandbox's PID 1 knows.
public struct SandboxListing: Sendable {
    /// Commands that run, wait for their session, or have ended and not been forgotten.
    public internal(set) var commands: [CommandEntry] = []
    /// Sessions whose bash lives.
    public internal(set) var sessions: [SessionEntry] = []

    /// Takes one frame of a list in; false when it is none.
    mutating func take(_ frame: ckpt_frame, _ payload: [UInt8]) throws(CommandError) -> Bool {
        switch Int(frame.type) {
        case CKPT_ENTRY: commands.append(CommandEntry(try payload.structure(ckpt_entry.self)))
        case CKPT_SESSION:
            let name = String(decoding: payload, as: UTF8.self)
            sessions.append(SessionEntry(name: name, pid: Int32(frame.value), busy: frame.stream != 0))
        default: return false
        }
        return true
    }
}

/// One session of a sandbox.
public struct SessionEntry: Sendable, Equatable {
    public let name: String
    /// Of its bash, inside the sandbox.
    public let pid: Int32
    /// Whether a call runs in it.
    public let busy: Bool
}

/// One command as PID 1 tells it.
public struct CommandEntry: Sendable {
    public let id: String
    /// The session it is a call of; empty for none.
    public let session: String
    /// Inside the sandbox; 0 when it has ended or waits for its session.
    public let pid: Int32
    public let hasEnded: Bool
    /// Bytes of stdout and stderr that were acknowledged, and that were produced.
    public let acknowledged: [UInt64]
    public let produced: [UInt64]
    public let stdinTaken: UInt64
    let exit: ckpt_exit?

    init(_ entry: ckpt_entry) {
        id = text(entry.id)
        session = text(entry.session)
        pid = Int32(entry.pid)
        hasEnded = Int(entry.flags) & CKPT_ENTRY_EXITED != 0
        acknowledged = [entry.acknowledged.0, entry.acknowledged.1]
        produced = [entry.produced.0, entry.produced.1]
        stdinTaken = entry.stdin_taken
        exit = hasEnded ? entry.exit : nil
    }
}
