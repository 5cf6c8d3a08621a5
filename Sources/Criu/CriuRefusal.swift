/// One thing that CRIU cannot dump, in words that name its holder.
public struct CriuRefusal: Equatable, Sendable, CustomStringConvertible {
    /// A process as it is known inside its sandbox.
    public struct Process: Equatable, Sendable, CustomStringConvertible {
        /// Its pid inside the sandbox.
        public let pid: Int32
        /// Its command name; nil when it was gone before it could be asked.
        public let command: String?

        public var description: String { command.map { "\(pid) (\($0))" } ?? "\(pid)" }
    }

    /// Who holds it; nil when CRIU does not say.
    public let process: Process?
    /// What is the matter with the process, as what follows its name in a sentence.
    public let what: String
    /// What to do about it, where that is known.
    public let hint: String?

    /// The sentence, for example
    /// `process 14 (redis-server) holds an io_uring (fd 9), which cannot be checkpointed`.
    public var description: String { "\(process.map { "process \($0)" } ?? "a process") \(what)" }
}
