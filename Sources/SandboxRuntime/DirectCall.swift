import CLinux
import Glibc
import LinuxSystem
public import Messages

/// A call in a session that the server has bash make, without PID 1; one that takes long goes on as PID 1's.
///
/// One thread follows it. For somebody else there is no such command before it goes on: it has no id of the caller's.
public final class DirectCall: FollowedCommand {
    /// Bytes that are read before it becomes PID 1's, whose buffers hold a writer up.
    private static let most = 65536
    /// Until PID 1 is asked once more that knows as many commands as it may, and for how long it is, in nanoseconds.
    private static let (pause, longest): (UInt64, UInt64) = (10_000_000, 1_000_000_000)

    public let id: String
    private let session: OwnSession
    private let channel: CommandChannel
    private let began = monotonicNanoseconds()
    private let timeout: UInt64?
    private nonisolated(unsafe) var isBegun = true
    private nonisolated(unsafe) var events: [AttachedEvent] = []
    /// What it goes on as, and how much of its output came before.
    private nonisolated(unsafe) var rest: RunningCommand?
    private nonisolated(unsafe) var before: [OutputStream: UInt64] = [:]
    /// What is not in the log yet.
    private nonisolated(unsafe) var unlogged: [OutputStream: [UInt8]] = [:]

    /// `timeout` in nanoseconds.
    init(_ id: String, _ session: OwnSession, on channel: CommandChannel, timeout: UInt64?) {
        (self.id, self.session, self.channel, self.timeout) = (id, session, channel, timeout)
    }

    deinit { if isBegun { follow() } }

    public func next(deadline: UInt64?) -> AttachedEvent? {
        if isBegun { follow() }
        if !events.isEmpty { return events.removeFirst() }
        let event = rest?.next(deadline: deadline)
        guard case .output(let stream, let offset, let bytes)? = event else { return event }
        return .output(stream, offset: offset + before[stream, default: 0], bytes: bytes)
    }

    /// Sees it to its end, or hands it over.
    private func follow() {
        isBegun = false
        var deadline = began + min(OwnSessions.short, timeout ?? .max)
        // That is written down while the program that printed it ends, for whose end bash waits.
        if session.shell.hearsOutput(until: deadline) { tell(wholeLines: true) }
        do throws(CommandError) {
            while true {
                // A bash that cannot be listened to is PID 1's affair.
                let status = try? session.shell.awaitEnd(until: deadline, most: Self.most)
                tell()
                if let status = status ?? nil {
                    session.shell.end()
                    events.append(.exited(result(status)))
                    channel.ended(session)
                    return
                }
                do throws(CommandError) {
                    rest = try handOver()
                    channel.own.drop(session)
                    return
                } catch {
                    let now = monotonicNanoseconds()
                    guard case .refused(EAGAIN, _) = error, now < began + min(Self.longest, timeout ?? .max)
                    else { throw error }
                    usleep(useconds_t(Self.pause / 1000))
                    deadline = now + Self.pause
                }
            }
        } catch {
            // PID 1 ends what goes on.
            session.shell.end()
            channel.giveUp(session)
            events.append(.failed(error.message))
            channel.own.drop(session)
        }
    }

    private func result(_ status: Int32) -> ExecResult {
        ExecResult(
            id: id, exitCode: status, signal: nil, timedOut: false,
            durationMs: Double(monotonicNanoseconds() - began) / 1_000_000)
    }

    /// Passes on what it has printed since; to the log whole lines alone, where the rest is about to come.
    private func tell(wholeLines: Bool = false) {
        let printed = session.shell.takeOutput()
        for (stream, bytes) in [(OutputStream.stdout, printed.stdout), (.stderr, printed.stderr)]
        where !bytes.isEmpty {
            let offset = before[stream, default: 0]
            events.append(.output(stream, offset: offset, bytes: bytes))
            before[stream] = offset + UInt64(bytes.count)
            unlogged[stream, default: []] += bytes
        }
        for stream in [OutputStream.stdout, .stderr] {
            guard let bytes = unlogged[stream] else { continue }
            let end = wholeLines ? bytes.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0 : bytes.count
            unlogged[stream] = end < bytes.count ? Array(bytes[end...]) : nil
            if end > 0 { channel.listener.with({ $0.log })?(id, stream, Array(bytes[..<end])) }
        }
    }

    /// The call as PID 1's.
    private func handOver() throws(CommandError) -> RunningCommand {
        let elapsed = monotonicNanoseconds() - began
        return try channel.takeOver(
            session,
            CommandChannel.RunningLoan(
                id: id, commands: session.shell.commands + 1, elapsed: elapsed,
                remaining: timeout.map { $0 - min($0, elapsed) }))
    }

    // MARK: For one that goes on

    public var stdinOffset: UInt64 { 0 }

    public func acknowledge(_ stream: OutputStream, upTo offset: UInt64) {
        let before = before[stream, default: 0]
        if offset > before { rest?.acknowledge(stream, upTo: offset - before) }
    }

    /// It has no stdin.
    public func write(offset: UInt64, _ bytes: [UInt8]) throws(ErrorMessage) {}
    public func closeStdin() throws(ErrorMessage) {}
    public func resize(rows: UInt16, columns: UInt16) throws(ErrorMessage) {}
    public func signal(_ number: Int32) throws(ErrorMessage) { try rest?.signal(number) }
    public func detach() { rest?.detach() }
    public func forget() { rest?.forget() }
}

/// A command whose exit, once delivered, need not be kept.
public protocol FollowedCommand: AttachedCommand {
    /// Says that its exit was delivered: its id may be used anew.
    func forget()
}

extension CommandChannel {
    /// Has a session's bash run a text without PID 1 in between; nil where PID 1 has to make the call: the first calls of a
    /// session, and those right after something else was done with it.
    ///
    /// `pid` is the host's of PID 1. A call that somebody may ask for once more by its id must be PID 1's.
    public func callDirectly(
        _ text: String, in session: String, id: @autoclosure () -> String, timeoutMilliseconds: UInt64?,
        pid: Int32
    ) -> DirectCall? {
        guard wire.isUp, let own = own.take(session) ?? borrow(session, pid: pid) else { return nil }
        let isBegun = try? own.shell.begin(text.utf8)
        if isBegun == true {
            return DirectCall(id(), own, on: self, timeout: timeoutMilliseconds.map { $0 * 1_000_000 })
        }
        // It has been taken back, or its text cannot be written.
        giveBack(own)
        self.own.drop(own)
        return nil
    }

    private func borrow(_ session: String, pid: Int32) -> OwnSession? {
        guard version.with({ $0 }) >= CKPT_INIT_BELIEVES else { return nil }
        let borrowed = own.borrow(session) {
            guard let lent = try? lendOut(session, pid: pid, deadline: monotonicNanoseconds() + Self.patience)
            else { return nil }
            let own = OwnSession(session, lent)
            if own == nil { try? takeBack(session, lent, call: nil, deadline: 0) }
            return own
        }
        // The reader sees to it that it is given back when nobody uses it.
        if borrowed != nil { wire.ring() }
        return borrowed
    }

    /// How long PID 1 has to lend a session, in nanoseconds.
    private static let patience: UInt64 = 1_000_000_000

    /// The end of a direct call. Who started a job has PID 1 look after it.
    func ended(_ session: OwnSession) {
        guard !session.hasNoNewJobs else {
            own.leave(session)
            return
        }
        giveBack(session)
        own.drop(session)
    }

    /// Gives a session back that is the server's own, if it is, for PID 1 to make a call in it or to lend it.
    ///
    /// Where a call of ours is not over by `deadline` PID 1 waits for it.
    func giveBackOwn(_ session: String, deadline: UInt64) {
        if let session = own.takeOut(session, until: deadline) { giveBack(session) }
    }

    /// Leaves a session to PID 1 in which a call runs that nobody follows any more.
    func giveUp(_ session: OwnSession) {
        try? takeBack(session.name, session.lent, call: nil, deadline: 0)
        session.lent.close()
    }

    /// Counts a call that was made in a session by PID 1: where the last ones were short the next is made directly.
    public func noteCall(in session: String, took nanoseconds: UInt64) {
        own.note(session, took: nanoseconds)
    }

    /// Gives one back between two calls.
    func giveBack(_ session: OwnSession) {
        try? takeBack(session.name, session.lent, call: nil, commands: session.shell.commands, deadline: 0)
        session.lent.close()
    }

    /// Gives one back in which a call runs, and follows that.
    func takeOver(_ session: OwnSession, _ call: RunningLoan) throws(CommandError) -> RunningCommand {
        makeRoom()
        let deadline = monotonicNanoseconds() + RunningCommand.patience
        try takeBack(session.name, session.lent, call: call, deadline: deadline)
        session.lent.close()
        var spec = CommandSpec(id: call.id, arguments: [""])
        spec.session = session.name
        spec.announced = false
        return try startNow(spec, deadline: deadline)
    }
}
