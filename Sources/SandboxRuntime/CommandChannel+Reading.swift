import CLinux
import Glibc
import LinuxSystem
import Messages

/// What comes from PID 1.
extension CommandChannel {
    /// Reads HELLO, asks for the list and reads it.
    func handshake(
        _ socket: borrowing Descriptor, _ frames: inout InitFrameReader, deadline: UInt64
    ) throws(CommandError) -> SandboxListing {
        do { try socket.writeAll(InitFrame.encode(CKPT_LIST)) } catch { throw .system(error) }
        var listing = SandboxListing()
        var greeted = false
        while true {
            while let (frame, payload) = try frames.next() {
                switch Int(frame.type) {
                case CKPT_HELLO:
                    guard Self.understands(frame) else { throw .version(frame.value) }
                    version.with { $0 = frame.value }
                    spareShell.with { $0 = frame.stream != 0 }
                    guard !greeted else { throw .garbage }
                    greeted = true
                case CKPT_LIST_END where greeted: return listing
                default: guard try listing.take(frame, payload) else { throw .garbage }
                }
            }
            let now = monotonicNanoseconds()
            guard now < deadline else { throw .noAnswer }
            var poller = pollfd(fd: socket.raw, events: Int16(POLLIN), revents: 0)
            lookOut(for: socket.raw)
            if poll(&poller, 1, Int32(clamping: (deadline - now) / 1_000_000 + 1)) <= 0 { continue }
            guard Self.receive(socket.raw, &frames) else { throw .disconnected }
        }
    }

    /// Whether the two sides have a version of the protocol in common.
    private static func understands(_ hello: ckpt_frame) -> Bool {
        let (own, oldest) = (UInt64(CKPT_INIT_VERSION), UInt64(CKPT_INIT_OLDEST))
        let (its, itsOldest) = (UInt64(hello.value), hello.offset == 0 ? UInt64(hello.value) : hello.offset)
        return its >= oldest && itsOldest <= own
    }

    /// Squares what is tracked with what PID 1 knows; returns the frames that take up what is followed.
    func adopt(_ listing: SandboxListing) -> [UInt8] {
        let now = monotonicNanoseconds()
        var lost: [TrackedCommand] = []
        let frames = table.with { table in
            table.doomed.formUnion(table.unsaid.map(\.id))
            table.unsaid = []
            table.more = []
            var frames: [UInt8] = []
            var entries: [String: CommandEntry] = [:]
            for entry in listing.commands { entries[entry.id] = entry }
            for command in Array(table.byID.values) {
                let entry = entries.removeValue(forKey: command.id)
                if let entry, command.continues(entry) {
                    if let exit = entry.exit { command.exitedUnheard(exit) }
                    if command.isAttached { frames += command.reattach() }
                } else if entry == nil, let spec = command.spec, command.state.with({ !$0.started }) {
                    frames += command.spawn(spec)
                } else {
                    table.remove(command)
                    lost.append(command)
                    if let entry { entries[entry.id] = entry }
                }
            }
            for entry in listing.commands where entries[entry.id] != nil && entry.job == nil {
                let command = TrackedCommand(
                    id: entry.id, tag: table.nextTag(), spec: nil, attention: .idle(since: now),
                    from: (entry.acknowledged[0], entry.acknowledged[1]))
                if table.doomed.contains(entry.id) {
                    frames += command.reattach() + InitFrame.encode(CKPT_FORGET, tag: command.tag)
                    continue
                }
                command.state.with {
                    $0.started = true
                    $0.exit = entry.exit
                    if entry.exit != nil { $0.ended = now - min(now, entry.endedBefore) }
                }
                table.byTag[command.tag] = command
                table.byID[entry.id] = command
            }
            table.doomed = []
            return frames
        }
        for command in lost { command.failed(.rolledBack) }
        return frames
    }

    /// Reads the connection until it ends, when no follower does; owns the socket.
    func startReader(_ socket: Int32, _ frames: InitFrameReader) {
        let turn = ReadingTurn(socket: socket, frames: frames)
        reading.with { $0 = turn }
        startThread { [self] in
            var problem = CommandError.disconnected
            do throws(CommandError) {
                // What came with the list.
                if turn.take(.thread) {
                    defer { turn.release() }
                    try handleFrames(turn)
                }
                while !turn.isOver {
                    if turn.isFollowersTurn, !wire.rest(ReadingTurn.courtesy) { continue }
                    // Who rang may have given it something to look after.
                    let isReadable = wire.waitReadable(socket, until: keepHouse())
                    guard turn.take(.thread) else { continue }
                    defer { turn.release() }
                    if isReadable {
                        guard Self.receive(socket, &turn.frames) else { break }
                        try handleFrames(turn)
                    }
                }
            } catch {
                problem = error
            }
            turn.end()
            turn.waitUntilFree()
            reading.with { if $0 === turn { $0 = nil } }
            let wanted = wire.ended(socket, turn.problem ?? problem)
            close(socket)
            if !wanted { loseAll(turn.problem ?? problem) }
        }
    }

    private func handleFrames(_ turn: ReadingTurn) throws(CommandError) {
        while let (frame, payload) = try turn.frames.next() { try dispatch(frame, payload) }
    }

    /// Waits until `body` gives a result on a command's state; nil when `deadline` passes first.
    ///
    /// Who waits reads the connection itself for a while where nobody else does: each wake-up costs about as much as
    /// all that a short command takes.
    func follow<Result>(
        _ command: TrackedCommand, until deadline: UInt64?,
        _ body: (inout TrackedCommand.State) -> Result?
    ) -> Result? {
        if let result = command.state.with({ body(&$0) }) { return result }
        guard let turn = reading.with({ $0 }) else { return command.state.wait(until: deadline, body) }
        if turn.take(.follower) {
            let result = read(turn, for: command, until: deadline, body)
            if turn.leave() { wire.ring() }
            if let result { return result }
        }
        if turn.beginWaiting() { wire.ring() }
        defer { turn.endWaiting() }
        return command.state.wait(until: deadline, body)
    }

    /// Runs what waits for something that the thread reads.
    func whileRead<Result>(_ body: () throws(CommandError) -> Result) throws(CommandError) -> Result {
        let turn = reading.with { $0 }
        _ = turn?.beginWaiting()
        defer { turn?.endWaiting() }
        return try body()
    }

    /// Reads for at most a stint; nil when that is over, or the connection.
    private func read<Result>(
        _ turn: ReadingTurn, for command: TrackedCommand, until deadline: UInt64?,
        _ body: (inout TrackedCommand.State) -> Result?
    ) -> Result? {
        let end = min(deadline ?? .max, monotonicNanoseconds() + ReadingTurn.stint)
        let eagerUntil = command.since + eagerness
        while true {
            // What came before the turn was taken was handled by others.
            if let result = command.state.with({ body(&$0) }) { return result }
            let now = monotonicNanoseconds()
            guard now < end else { return nil }
            var poller = pollfd(fd: turn.socket, events: Int16(POLLIN), revents: 0)
            if eagerUntil > now { lookOut(for: turn.socket, during: min(eagerUntil, end) - now) }
            if poll(&poller, 1, Int32(clamping: (end - now) / 1_000_000 + 1)) <= 0 { continue }
            do throws(CommandError) {
                guard Self.receive(turn.socket, &turn.frames) else { throw .disconnected }
                try handleFrames(turn)
            } catch {
                turn.problem = error
                turn.end()
                return nil
            }
        }
    }

    /// False at the end of the connection.
    private static func receive(_ socket: Int32, _ frames: inout InitFrameReader) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 16) { buffer in
            let got = recv(socket, buffer.baseAddress, buffer.count, 0)
            if got < 0 && errno == EINTR { return true }
            guard got > 0 else { return false }
            frames.append(UnsafeRawBufferPointer(rebasing: buffer[..<got]))
            return true
        }
    }

    private func dispatch(_ frame: ckpt_frame, _ payload: [UInt8]) throws(CommandError) {
        switch Int(frame.type) {
        case CKPT_ENTRY, CKPT_JOB, CKPT_SESSION, CKPT_LIST_END:
            try lists.take(frame, payload)
            return
        case CKPT_LENT:
            loans.take(frame.tag, try payload.structure(ckpt_lent.self))
            return
        case CKPT_CRASH:
            listener.with({ $0.crashed })?(CrashInfo(try payload.structure(ckpt_crash.self)))
            return
        default: break
        }
        guard let command = table.with({ $0.byTag[frame.tag] }) else { return }  // forgotten in the meantime
        switch Int(frame.type) {
        case CKPT_STARTED: command.started(stdinTaken: frame.offset)
        case CKPT_REFUSED:
            table.with { $0.remove(command) }
            command.failed(
                .refused(
                    code: Int32(truncatingIfNeeded: frame.value),
                    reason: String(decoding: payload, as: UTF8.self)))
        case CKPT_OUTPUT:
            let stream: OutputStream = frame.stream == 2 ? .stderr : .stdout
            let (new, acknowledgement) = try command.received(stream, offset: frame.offset, payload)
            if !new.isEmpty { listener.with({ $0.log })?(command.id, stream, new) }
            if !acknowledgement.isEmpty { wire.send(acknowledgement) }
        case CKPT_STDIN_TAKEN: command.stdinTaken(frame.offset, room: frame.value, wire)
        case CKPT_EXIT: command.exited(try payload.structure(ckpt_exit.self), now: monotonicNanoseconds())
        default: throw .garbage
        }
    }

    /// Gives up waiting for followers whose time of grace is over; returns when to look again.
    private func keepHouse() -> UInt64? {
        let now = monotonicNanoseconds()
        var next: UInt64?
        // Before it looks: what is left meanwhile rings.
        looksAgain.with { $0 = .max }
        defer { looksAgain.with { $0 = next ?? .max } }
        for command in table.with({ Array($0.byID.values) }) {
            let (since, exited) = command.state.with { state -> (UInt64?, Bool) in
                guard case .idle(let since) = state.attention else { return (nil, false) }
                return (since, state.exit != nil)
            }
            guard let since else { continue }
            if since + grace > now {
                next = min(next ?? .max, since + grace)
            } else if exited {
                reattachAndForget(command)
            } else {
                command.state.with { $0.attention = .drained }
                wire.send(command.reattach())
            }
        }
        let idle = own.takeOutIdle(now: now)
        for session in idle.sessions { giveBack(session) }
        if let look = idle.next { next = min(next ?? .max, look) }
        return next
    }

    private func loseAll(_ reason: CommandError) {
        let commands = table.with(wake: true) {
            let all = Array($0.byTag.values)
            $0.byTag = [:]
            $0.byID = [:]
            return all
        }
        lists.fail(reason)
        own.close()
        loans.fail()
        for command in commands { command.failed(reason) }
    }
}

extension TrackedCommand {
    /// Whether PID 1 is to send about it.
    var isAttached: Bool {
        state.with {
            if case .idle = $0.attention { return false }
            return true
        }
    }

    /// Whether we can go on with the command as PID 1 knows it.
    ///
    /// In a sandbox that was rolled back it may have printed less than we have: what it prints again up to there
    /// is dropped. Stdin that it has not read any more is gone, and so is output that was given away.
    func continues(_ entry: CommandEntry) -> Bool {
        state.with { state in
            if case .idle = state.attention { return true }
            guard state.exit == nil || entry.exit != nil, state.input.taken <= entry.stdinTaken else {
                return false
            }
            return (0..<2).allSatisfy { entry.acknowledged[$0] <= state.outputs[$0].received }
        }
    }
}

extension CrashInfo {
    init(_ crash: ckpt_crash) {
        self.init(
            pid: Int(crash.pid), thread: Int(crash.tid), command: text(crash.command),
            signal: Int(crash.signal), code: Int(crash.code), address: crash.address)
    }
}
