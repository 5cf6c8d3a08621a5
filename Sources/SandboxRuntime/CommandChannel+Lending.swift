import CLinux
import Glibc
import LinuxSystem

/// A session whose calls are made by who has its descriptors; see `CommandChannel.lend`.
public final class LentSession: Sendable {
    /// How many commands bash was given so far.
    public let commands: UInt64
    /// What has bash read the file, with its line end.
    public let line: String
    /// The loan's number, and who lends: the host's pid of PID 1.
    let number: UInt64
    let lender: Int32
    private let ends: Monitor<[Int32]>

    init(_ lent: ckpt_lent, lender: Int32, line: String, ends: consuming [Int32]) {
        (commands, number, self.lender, self.line) = (lent.commands, lent.loan, lender, line)
        self.ends = Monitor(ends)
    }

    deinit { close() }

    /// The pipe that bash reads its commands from, the one on which it tells that it is back, those of its stdout and
    /// stderr, and the file that a call's text lies in, which is an open file of the borrower's own.
    public var descriptors: [Int32] { ends.with { $0 } }

    /// Closes them, once the borrower has its own: a lock on the text lasts for as long as anybody has the open file.
    public func close() {
        ends.with { ends in
            for end in ends { Glibc.close(end) }
            ends = []
        }
    }
}

/// What is lent of one sandbox, and what PID 1 answers about that, by tags.
final class Loans: Sendable {
    private struct State {
        var answers: [UInt32: ckpt_lent?] = [:]
        /// The host's pid of the PID 1 that lends.
        var lender: Int32 = 0
        /// Of each loan, by its number, its file; an open file of ours, for a lock is the borrower's alone.
        var texts: [UInt64: Int32] = [:]

        /// What was asked on a connection that is gone is not answered any more.
        mutating func fail() {
            for tag in answers.keys { answers[tag] = ckpt_lent.failed }
        }

        mutating func revoke() {
            for text in texts.values {
                fchmod(text, 0o400)
                close(text)
            }
            texts = [:]
        }
    }
    private let state = Monitor(State())

    deinit { state.with { $0.revoke() } }

    /// What another PID 1 has lent nobody has any more: a borrower must not go on with a tree that is about to end.
    func connected(to pid: Int32) {
        state.with(wake: true) { state in
            state.fail()
            if state.lender != pid { state.revoke() }
            state.lender = pid
        }
    }

    func revoke() {
        state.with(wake: true) { state in
            state.fail()
            state.revoke()
        }
    }

    func fail() { state.with(wake: true) { $0.fail() } }

    /// Notes a loan; false where that PID 1 lends no more, or there are no descriptors left.
    func begin(_ number: UInt64, by pid: Int32, text: Int32) -> Bool {
        state.with { state in
            guard state.lender == pid, state.texts[number] == nil else { return false }
            let own = open("/proc/self/fd/\(text)", O_RDONLY | O_CLOEXEC)
            if own >= 0 { state.texts[number] = own }
            return own >= 0
        }
    }

    /// Whether that PID 1 still lends.
    func end(_ number: UInt64, by pid: Int32) -> Bool {
        state.with { state in
            guard state.lender == pid else { return false }
            if let text = state.texts.removeValue(forKey: number) { close(text) }
            return true
        }
    }

    /// When a text was last written, in nanoseconds since 1970; nil where it is lent no more.
    func written(_ number: UInt64) -> Int64? {
        state.with { state in
            var status = stat()
            guard let text = state.texts[number], fstat(text, &status) == 0 else { return nil }
            return Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec)
        }
    }

    func expect(_ tag: UInt32) { state.with { $0.answers[tag] = .some(nil) } }

    func take(_ tag: UInt32, _ answer: ckpt_lent) {
        state.with(wake: true) { if $0.answers[tag] != nil { $0.answers[tag] = answer } }
    }

    /// nil when none comes in time.
    func wait(_ tag: UInt32, deadline: UInt64) -> ckpt_lent? {
        defer { state.with { _ = $0.answers.removeValue(forKey: tag) } }
        return state.wait(until: deadline) { $0.answers[tag] ?? nil }
    }
}

extension CommandChannel {
    /// Lends a session that does nothing just now; PID 1 makes no call in it until it has it back.
    ///
    /// `pid` is the host's of PID 1. Throws `.refused` with ENOENT where there is no such session, with EBUSY where it
    /// runs a call, and with EOPNOTSUPP where its bash or PID 1 is too old.
    public func lend(_ session: String, pid: Int32, deadline: UInt64) throws(CommandError) -> LentSession {
        giveBackOwn(session, deadline: deadline)
        return try lendOut(session, pid: pid, deadline: deadline)
    }

    /// The same for a session that the server has not borrowed itself.
    func lendOut(_ session: String, pid: Int32, deadline: UInt64) throws(CommandError) -> LentSession {
        let lent = try ask(
            about: session, { InitFrame.encode(CKPT_LEND, tag: $0, payload: Array(session.utf8)) },
            deadline: deadline)
        // What is none of these it took back in between.
        guard let input = Descriptor.duplicate(of: lent.in, in: pid), input.isPipe,
            let control = Descriptor.duplicate(of: lent.control, in: pid), control.isPipe,
            let output = Descriptor.duplicate(of: lent.out, in: pid), output.isPipe,
            let error = Descriptor.duplicate(of: lent.error, in: pid), error.isPipe,
            let its = Descriptor.duplicate(of: lent.text, in: pid), its.isFile,
            let text = try? Descriptor.open("/proc/self/fd/\(its.raw)", O_RDWR | O_NOCTTY | O_NONBLOCK),
            text.isText(ofLoan: lent.loan),
            loans.begin(lent.loan, by: pid, text: text.raw)
        else {
            // Where it still has it that it is lent, it is so no more.
            sendBack(session, lent.loan, commands: lent.commands)
            throw .refused(code: EBUSY, reason: "session \(session) is in use")
        }
        return LentSession(
            lent, lender: pid, line: ". \(CKPT_INIT_DIRECTORY)/session/\(session) </dev/null 251>&-\n",
            ends: [
                input.release(), control.release(), output.release(), error.release(), text.release(),
            ])
    }

    /// When the borrower last began a call, about, in nanoseconds since 1970; nil once it is not lent any more.
    public func lastUse(of loan: LentSession) -> Int64? { loans.written(loan.number) }

    /// Takes a lent session back from who has gone; a call that still runs is ended.
    ///
    /// With `call` the call that runs becomes one that PID 1 knows by that id; with `commands` none runs, for bash has told
    /// that number and waits. Throws `.rolledBack` where another PID 1 is in the place of the one that lent it.
    public func takeBack(
        _ session: String, _ loan: LentSession, call: RunningLoan?, commands: UInt64 = 0, deadline: UInt64
    ) throws(CommandError) {
        guard loans.end(loan.number, by: loan.lender) else { throw .rolledBack }
        guard let call else {
            sendBack(session, loan.number, commands: commands)
            return
        }
        guard CommandSpec.isName(call.id) else { throw .badRequest("\(call.id) is no id") }
        var request = Self.request(session, loan.number, commands: call.commands)
        Self.put(call.id, into: &request.id)
        request.remaining_ns = call.remaining ?? .max
        request.elapsed_ns = call.elapsed
        let payload = InitFrame.bytes(of: request)
        _ = try ask(
            about: session, { InitFrame.encode(CKPT_TAKE_BACK, tag: $0, payload: payload) },
            deadline: deadline)
    }

    /// Gives a session back without a call to go on with. Nobody needs the answer: where it does not get through the next call
    /// takes the session back.
    private func sendBack(_ session: String, _ loan: UInt64, commands: UInt64) {
        let request = InitFrame.bytes(of: Self.request(session, loan, commands: commands))
        wire.send(InitFrame.encode(CKPT_TAKE_BACK, tag: table.with { $0.nextTag() }, payload: request))
    }

    private static func request(_ session: String, _ loan: UInt64, commands: UInt64) -> ckpt_take_back {
        var request = ckpt_take_back()
        (request.loan, request.commands) = (loan, commands)
        put(session, into: &request.session)
        return request
    }

    /// A call that who borrowed the session has begun.
    public struct RunningLoan: Sendable {
        public let id: String
        /// The number that its end tells.
        public let commands: UInt64
        /// How long it has run, and how long it still may, in nanoseconds; nil for as long as it takes.
        public let elapsed: UInt64
        public let remaining: UInt64?

        public init(id: String, commands: UInt64, elapsed: UInt64, remaining: UInt64?) {
            (self.id, self.commands, self.elapsed, self.remaining) = (id, commands, elapsed, remaining)
        }
    }

    /// Takes back all that is lent, so that the borrowers ask again before their next calls.
    public func revokeLoans() { loans.revoke() }

    private func ask(
        about session: String, _ frame: (UInt32) -> [UInt8], deadline: UInt64
    ) throws(CommandError) -> ckpt_lent {
        guard CommandSpec.isName(session) else { throw .badRequest("\(session) is no session's name") }
        guard version.with({ $0 }) >= CKPT_INIT_LENDS else {
            throw .refused(code: EOPNOTSUPP, reason: "its PID 1 is too old to lend a session")
        }
        let tag = table.with { $0.nextTag() }
        let answer = try whileRead { () throws(CommandError) in
            try wire.sendWhenUp(frame(tag), deadline: deadline) { loans.expect(tag) }
            wire.ring()
            return loans.wait(tag, deadline: deadline)
        }
        guard let lent = answer else { throw .noAnswer }
        guard lent.code == 0 else {
            throw .refused(code: lent.code, reason: "session \(session): \(Self.reason(lent.code))")
        }
        return lent
    }

    private static func reason(_ code: Int32) -> String {
        switch code {
        case ENOENT: "there is none, or it is not lent"
        case EBUSY: "a call runs in it"
        case EOPNOTSUPP: "its bash is too old to tell its calls apart"
        case EEXIST: "a command of that id is known"
        case ECONNRESET: "its PID 1 was not to be reached"
        default: String(cString: strerror(code))
        }
    }

    private static func put<Characters: BitwiseCopyable>(_ text: String, into place: inout Characters) {
        withUnsafeMutableBytes(of: &place) { place in
            let bytes = Array(text.utf8.prefix(place.count - 1))
            place.copyBytes(from: bytes)
        }
    }
}

extension Descriptor {
    fileprivate var isPipe: Bool { isOf(S_IFIFO) }
    fileprivate var isFile: Bool { isOf(S_IFREG) }

    private func isOf(_ type: mode_t) -> Bool {
        var status = stat()
        return fstat(raw, &status) == 0 && status.st_mode & S_IFMT == type
    }

    /// Whether it is the file of that loan; see CKPT_LOAN_TEXT.
    fileprivate func isText(ofLoan number: UInt64) -> Bool {
        let wanted = Array("# loan \(number)\n".utf8)
        var found = [UInt8](repeating: 0, count: wanted.count + 1)
        return pread(raw, &found, found.count, 0) == wanted.count && found.dropLast().elementsEqual(wanted)
    }
}

extension ckpt_lent {
    fileprivate static var failed: ckpt_lent {
        var lent = ckpt_lent()
        lent.code = ECONNRESET
        return lent
    }
}
