import CLinux
import Glibc
import LinuxSystem
public import Messages

/// The server's end of one sandbox's PID 1: starts commands, follows them, and lets go of the sandbox for
/// the time of a save.
///
/// One thread reads the connection; everybody else sends. A connection that was dropped on purpose
/// (`quiesce`) and made again (`resume`) loses and doubles nothing: streams go on at their offsets.
public final class CommandChannel: Sendable {
    /// Is told of a process that stands still because it is about to die, on the connection's reader: it must not
    /// block. `finishCrash` lets the process die.
    public typealias Crashed = @Sendable (CrashInfo) -> Void
    /// Gets all output of all commands, once, in order per stream.
    public typealias Log = @Sendable (_ id: String, _ stream: OutputStream, _ bytes: [UInt8]) -> Void

    struct Table {
        var byTag: [UInt32: TrackedCommand] = [:]
        var byID: [String: TrackedCommand] = [:]
        var lastTag: UInt32 = 0
        /// Forgotten while there was no connection to say so.
        var doomed: Set<String> = []
        /// Forgotten, and PID 1 is told with what it is told next.
        var unsaid: [TrackedCommand] = []
        /// What else it is told then: that nobody follows what has ended.
        var more: [UInt8] = []

        /// The frames that say so, once.
        mutating func sayForgotten() -> [UInt8] {
            defer {
                unsaid.removeAll(keepingCapacity: true)
                more.removeAll(keepingCapacity: true)
            }
            return more + unsaid.flatMap { InitFrame.encode(CKPT_FORGET, tag: $0.tag) }
        }

        mutating func remove(_ command: TrackedCommand) {
            byTag[command.tag] = nil
            if byID[command.id] === command { byID[command.id] = nil }
        }

        mutating func nextTag() -> UInt32 {
            lastTag += 1
            return lastTag
        }
    }

    let wire = InitWire()
    let lists = ListRequests()
    let loans = Loans()
    /// Those that the server has for itself.
    let own = OwnSessions()
    /// That PID 1 speaks, as it said on the last connection.
    let version = Monitor<UInt32>(0)
    /// Whether PID 1 has a bash that nobody has asked for yet; see `prepareShell`.
    let spareShell = Monitor(false)
    let table = Monitor(Table())
    /// Who reads the connection that is up.
    let reading = Monitor<ReadingTurn?>(nil)
    let grace: UInt64
    /// When the reader looks after what nobody follows, unless it is called before; never for `.max`.
    let looksAgain = Monitor(UInt64.max)
    /// Who is told of what comes.
    let listener: Monitor<(log: Log?, crashed: Crashed?)>

    /// A channel that is not connected yet.
    ///
    /// `grace` is how long PID 1 keeps the output and the exit of a command that nobody follows, in
    /// milliseconds; afterwards its output goes to `log` alone, and its exit is forgotten.
    public init(grace: UInt64 = 60_000, log: Log? = nil, crashed: Crashed? = nil) {
        self.grace = grace * 1_000_000
        listener = Monitor((log, crashed))
    }

    /// Has others told from now on; as for `init`.
    public func tell(log: Log?, crashed: Crashed?) { listener.with { $0 = (log, crashed) } }

    /// Connects to the sandbox whose PID 1 the host knows as `pid`; `deadline` in nanoseconds of
    /// CLOCK_MONOTONIC bounds how long it may take to listen and to answer.
    ///
    /// What runs in it and is not followed waits for a follower. Commands that are followed (after
    /// `quiesce`) go on where they were; those the sandbox does not know end with an error.
    @discardableResult
    public func connect(pid: Int32, deadline: UInt64) throws(CommandError) -> SandboxListing {
        let socket = try InitWire.connect(pid: pid, deadline: deadline)
        var frames = InitFrameReader()
        let listing = try handshake(socket, &frames, deadline: deadline)
        loans.connected(to: pid)
        let first = adopt(listing)
        guard wire.bringUp(socket: socket.raw, first: first, before: { lists.reconnected(listing) }) else {
            throw .disconnected
        }
        own.open()
        startReader(socket.release(), frames)
        return listing
    }

    /// `connect` after `quiesce`.
    @discardableResult
    public func resume(pid: Int32, deadline: UInt64) throws(CommandError) -> SandboxListing {
        try connect(pid: pid, deadline: deadline)
    }

    /// Whether the connection ended without anybody wanting it to, or could not be made: `connect` makes another.
    public var isDown: Bool { wire.isDown }

    /// Tells PID 1 all that was acknowledged and drops the connection: when this returns the sandbox holds
    /// none. Who wants to send something waits for `resume`.
    public func quiesce(deadline: UInt64) throws(CommandError) {
        guard let sessions = own.takeOutAll(until: deadline) else { throw .noAnswer }
        for session in sessions { giveBack(session) }
        let (commands, forgotten) = table.with { (Array($0.byTag.values), $0.sayForgotten()) }
        let last = forgotten + commands.flatMap { $0.outstandingAcknowledgements() }
        // PID 1 may say something before it closes.
        try whileRead { () throws(CommandError) in try wire.close(last: last, deadline: deadline) }
    }

    /// Ends all that is followed with an error and forgets everything: the sandbox is gone or rolled back.
    public func abandon(_ reason: CommandError) {
        wire.abort(reason)
        own.close()
        loans.revoke()
        let commands = table.with {
            let all = Array($0.byTag.values)
            $0.byTag = [:]
            $0.byID = [:]
            $0.doomed = []
            $0.unsaid = []
            return all
        }
        lists.fail(reason)
        for command in commands { command.failed(reason) }
    }

    /// Starts a command, or takes up the one that has its id; `from` is how much of stdout and stderr the
    /// caller has already. Who followed it before gets an error. A command of which the caller has something and
    /// that the sandbox does not know was lost in a rollback: it is not started again.
    ///
    /// Returns when the request is on its way: a refusal comes as an event. Waits for a sandbox that is
    /// being saved.
    public func start(
        _ spec: CommandSpec, from: (UInt64, UInt64) = (0, 0), deadline: UInt64
    ) throws(CommandError) -> RunningCommand {
        if let session = spec.session { giveBackOwn(session, deadline: deadline) }
        return try startNow(spec, from: from, deadline: deadline)
    }

    /// The same where no session of the server's own has to be given back.
    func startNow(
        _ spec: CommandSpec, from: (UInt64, UInt64) = (0, 0), deadline: UInt64
    ) throws(CommandError) -> RunningCommand {
        try spec.validate()
        makeRoom()
        let (command, before, forgotten) = try table.with { (table) throws(CommandError) in
            let before = table.byID[spec.id]
            guard before != nil || from == (0, 0) else { throw .rolledBack }
            let command = TrackedCommand(
                id: spec.id, tag: table.nextTag(), spec: spec, attention: .followed, from: from)
            if let before { table.remove(before) }
            table.byTag[command.tag] = command
            table.byID[spec.id] = command
            table.doomed.remove(spec.id)
            return (command, before, table.sayForgotten())
        }
        before?.failed(.replaced)
        spareShell.with { $0 = false }
        do {
            try wire.sendWhenUp(forgotten + command.spawn(spec), deadline: deadline)
        } catch {
            table.with { $0.remove(command) }
            throw error
        }
        return RunningCommand(command, on: self)
    }

    /// What PID 1 knows: commands and sessions.
    public func list(deadline: UInt64) throws(CommandError) -> SandboxListing {
        let forgotten = table.with { $0.sayForgotten() }
        if !forgotten.isEmpty { wire.send(forgotten) }
        return try whileRead { () throws(CommandError) in try lists.list(wire, deadline: deadline) }
    }

    /// What PID 1 knows, or what it told last where the sandbox is being saved.
    public func listWithoutWaiting(deadline: UInt64) throws(CommandError) -> SandboxListing {
        if !wire.isUp, let last = lists.last { return last }
        return try list(deadline: deadline)
    }

    /// What PID 1 told last, however old; nil where it has told nothing.
    public var lastListing: SandboxListing? { lists.last }

    /// Whether there is a bash in the sandbox that `prepareShell` started and nobody has got.
    public var hasSpareShell: Bool { spareShell.with { $0 } }

    /// Has PID 1 start the bash of a session that is yet to be asked for: the first command of all gets it where it is a
    /// call in a session as `spec`, whatever that is called and its text. Any other first command ends it.
    ///
    /// Does nothing with a PID 1 that knows nothing of this.
    public func prepareShell(_ spec: CommandSpec, deadline: UInt64) throws(CommandError) {
        try spec.validate()
        guard version.with({ $0 }) >= CKPT_INIT_PREPARES else { return }
        try wire.sendWhenUp(InitFrame.prepare(spec), deadline: deadline)
        spareShell.with { $0 = true }
    }

    /// Ends the bash that nobody has got, if there is one; it is gone when this returns.
    public func dropSpareShell(deadline: UInt64) throws(CommandError) {
        let had = spareShell.with { has in
            defer { has = false }
            return has
        }
        guard had else { return }
        try wire.sendWhenUp(InitFrame.encode(CKPT_UNPREPARE), deadline: deadline)
        _ = try list(deadline: deadline)
    }

    /// Sends a signal to every process of the sandbox but PID 1.
    public func killAll(signal: Int32, deadline: UInt64) throws(CommandError) {
        guard (1...64).contains(signal) else { throw .badRequest("no signal has number \(signal)") }
        try wire.sendWhenUp(InitFrame.encode(CKPT_KILL_ALL, value: UInt32(signal)), deadline: deadline)
    }

    /// Lets a process die that `crashed` was told of, by its pid in the sandbox.
    public func finishCrash(of pid: Int) {
        wire.send(InitFrame.encode(CKPT_CRASH_DONE, value: UInt32(clamping: pid)))
    }

    // MARK: For RunningCommand

    func unfollow(_ command: TrackedCommand) {
        let now = monotonicNanoseconds()
        let (left, hasEnded) = command.state.with(wake: true) {
            guard !$0.detached else { return (false, false) }
            $0.detached = true
            $0.dropEvents()
            // Who comes back says from where; until then PID 1 keeps what nobody acknowledged.
            for index in 0..<2 { $0.outputs[index].received = $0.outputs[index].acknowledged }
            $0.attention = .idle(since: now)
            return (true, $0.exit != nil)
        }
        guard left else { return }
        // One that runs on is told of now, for its output has to go where nobody follows.
        let frames = table.with { table -> [UInt8] in
            guard table.byTag[command.tag] != nil else { return [] }
            table.more += command.outstandingAcknowledgements()
            table.more += InitFrame.encode(CKPT_DETACH, tag: command.tag)
            return hasEnded && table.more.count < Self.mostUnsaid * 64 ? [] : table.sayForgotten()
        }
        if !frames.isEmpty { wire.send(frames) }
        // The reader looks after it when its time of grace is over.
        if looksAgain.with({ $0 > now + grace }) { wire.ring() }
    }

    /// How many exits PID 1 may keep that it could forget.
    private static let mostUnsaid = 16

    func forget(_ command: TrackedCommand) {
        let isUp = wire.isUp
        let frames = table.with { table -> [UInt8] in
            let known = table.byTag[command.tag] != nil
            table.remove(command)
            guard known else { return [] }
            guard isUp else {
                table.doomed.insert(command.id)
                return []
            }
            table.unsaid.append(command)
            // One that runs on is told of now, for its output has to flow.
            let waits = command.state.with { $0.exit != nil } && table.unsaid.count < Self.mostUnsaid
            return waits ? [] : table.sayForgotten()
        }
        if !frames.isEmpty { wire.send(frames) }
    }

    /// Forgets the exits that nobody has asked for the longest when PID 1's table is filling up: a quarter of what it holds,
    /// for one with each call would cost each call.
    func makeRoom() {
        let (enough, left) = (Int(CKPT_INIT_COMMANDS) * 3 / 4, Int(CKPT_INIT_COMMANDS) / 2)
        let commands = table.with { $0.byID.count < enough ? [] : Array($0.byID.values) }
        guard !commands.isEmpty else { return }
        var idle: [(command: TrackedCommand, since: UInt64, ended: UInt64)] = []
        for command in commands {
            let (attention, ended) = command.state.with { ($0.exit != nil ? $0.attention : nil, $0.ended) }
            guard case .idle(let since)? = attention else { continue }
            idle.append((command, since, ended))
        }
        // Those that another server left have been idle for equally long; it may have been about to tell the last ones.
        idle.sort { ($0.since, $0.ended) < ($1.since, $1.ended) }
        for one in idle.prefix(commands.count - left) { reattachAndForget(one.command) }
    }

    func reattachAndForget(_ command: TrackedCommand) {
        // What PID 1 has not been told yet is of the tag that it had.
        wire.send(table.with { $0.sayForgotten() } + command.reattach())
        forget(command)
    }
}
