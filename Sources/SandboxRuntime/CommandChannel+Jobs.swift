import CLinux
import LinuxSystem

/// Jobs: commands that PID 1 keeps with their exit, and whose output it writes to files inside the sandbox.
///
/// The server follows none of them: what it wants to know it asks for, and what they print is read from the
/// files (`JobFiles`).
extension CommandChannel {
    /// Starts a job and returns when it runs. A program that cannot be executed is started in this sense: its
    /// exit code is 126 or 127.
    public func launch(_ spec: CommandSpec, deadline: UInt64) throws(CommandError) {
        var spec = spec
        spec.isJob = true
        spec.announced = true
        let command = try start(spec, deadline: deadline)
        defer { release(spec.id) }
        try command.waitUntilStarted(deadline: deadline)
    }

    /// Every job that PID 1 knows, in the order of their starts.
    public func jobs(deadline: UInt64) throws(CommandError) -> [CommandEntry] {
        try list(deadline: deadline).commands.filter { $0.job != nil }.sorted {
            ($0.job!.started, $0.id) < ($1.job!.started, $1.id)
        }
    }

    /// Sends a signal to a job's process group; SIGKILL also to all that is below the job. Nothing where there
    /// is no such job.
    public func signalJob(_ id: String, _ signal: Int32, deadline: UInt64) throws(CommandError) {
        guard (1...64).contains(signal) else { throw .badRequest("no signal has number \(signal)") }
        try tell(id, CKPT_SIGNAL, value: UInt32(signal), deadline: deadline)
    }

    /// Has PID 1 forget a job and remove its output; one that runs is forgotten when it ends.
    public func forgetJob(_ id: String, deadline: UInt64) throws(CommandError) {
        try tell(id, CKPT_FORGET, deadline: deadline)
    }

    /// Says one thing about a command that nobody follows; answers to its number mean nothing to anybody.
    private func tell(_ id: String, _ type: Int, value: UInt32 = 0, deadline: UInt64) throws(CommandError) {
        let tag = table.with { $0.nextTag() }
        let frames =
            InitFrame.attach(id: id, tag: tag, from: (.max, .max))
            + InitFrame.encode(type, tag: tag, value: value) + InitFrame.encode(CKPT_DETACH, tag: tag)
        try wire.sendWhenUp(frames, deadline: deadline)
    }

    /// Stops tracking a command, without giving PID 1 anything to do about it.
    private func release(_ id: String) {
        let tag = table.with { table -> UInt32? in
            guard let command = table.byID[id] else { return nil }
            table.remove(command)
            return command.tag
        }
        if let tag { wire.send(InitFrame.encode(CKPT_DETACH, tag: tag)) }
    }
}
