/// One thing that keeps a tree from being saved or restored, in words that name its holder.
public struct CriuRefusal: Equatable, Sendable, CustomStringConvertible {
    /// A process as it is known inside its sandbox.
    public struct Process: Equatable, Sendable, CustomStringConvertible {
        /// Its pid inside the sandbox.
        public let pid: Int32
        /// Its command name; nil when it was gone before it could be asked.
        public let command: String?

        /// A process; the command where it is known.
        public init(pid: Int32, command: String? = nil) {
            self.pid = pid
            self.command = command
        }

        public var description: String { command.map { "\(pid) (\($0))" } ?? "\(pid)" }
    }

    /// Which of `KnownRefusal.all` it is.
    public let id: String
    /// Who holds it; nil when CRIU does not say.
    public var process: Process?
    /// What is the matter with the process, as what follows its name in a sentence.
    public let what: String
    /// What to do about it.
    public let hint: String

    /// One of the known ones, with what is to stand for the names in its sentence.
    init(_ known: KnownRefusal, _ process: Process?, _ values: [String: String] = [:], place: String? = nil) {
        id = known.id
        self.process = process
        var text = known.what
        for (name, value) in values.merging(
            ["place": place.map { " (\($0))" } ?? ""], uniquingKeysWith: { $1 })
        {
            while let found = text.firstRange(of: "{\(name)}") { text.replaceSubrange(found, with: value) }
        }
        what = text
        hint = known.hint
    }

    /// The sentence, for example
    /// `process 14 (redis-server) holds an io_uring (fd 9), which cannot be checkpointed`.
    public var description: String { "\(process.map { "process \($0)" } ?? "a process") \(what)" }
}
