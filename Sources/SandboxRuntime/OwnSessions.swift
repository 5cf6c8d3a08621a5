import Glibc
import LinuxSystem

/// A session that the server itself has borrowed, to make its short calls without PID 1.
final class OwnSession: Sendable {
    let name: String
    let lent: LentSession
    /// For who makes a call.
    nonisolated(unsafe) var shell: LentShell
    /// Bash's children at first, as the kernel lists them, and where it does.
    private let first: [UInt8]
    private let children: Descriptor

    /// nil where bash is not found among PID 1's children.
    init?(_ name: String, _ lent: LentSession) {
        let ends = lent.descriptors
        guard ends.count == 5, let bash = Self.reader(of: ends[0], below: lent.lender),
            let children = try? Descriptor.open("/proc/\(bash)/task/\(bash)/children", O_RDONLY)
        else { return nil }
        (self.name, self.lent) = (name, lent)
        shell = LentShell(ends, line: lent.line, commands: lent.commands)
        first = Self.text(children)
        self.children = children
    }

    /// Whether bash has the children that it had at first: PID 1 knows those, and spares them when it ends a call.
    var hasNoNewJobs: Bool { Self.text(children) == first }

    private static func text(_ children: borrowing Descriptor) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
            count = max(0, pread(children.raw, buffer.baseAddress, buffer.count, 0))
        }
    }

    /// The host's pid of the child of `parent` that has that pipe as its stdin.
    private static func reader(of pipe: Int32, below parent: Int32) -> Int32? {
        var status = stat()
        guard fstat(pipe, &status) == 0,
            let bytes = try? Files.read("/proc/\(parent)/task/\(parent)/children")
        else { return nil }
        return String(decoding: bytes, as: UTF8.self).split(separator: " ").lazy.compactMap { Int32($0) }
            .first { pid in
                var its = stat()
                return stat("/proc/\(pid)/fd/0", &its) == 0 && its.st_ino == status.st_ino
                    && its.st_dev == status.st_dev
            }
    }
}

/// The sessions of one sandbox that the server has borrowed.
///
/// Who saves, pauses or ends the sandbox, or has PID 1 make a call in one of them, gives them back before.
final class OwnSessions: Sendable {
    /// Unused for so long one is given back, in nanoseconds: what writes to its output then does not wait for a reader.
    static let idle: UInt64 = 500_000_000
    /// Calls in a row that were short before a session is borrowed, and how many are waited for where it cannot be.
    private static let (enough, refused) = (2, -30)
    /// What a short call takes at most, in nanoseconds.
    static let short: UInt64 = 5_000_000
    /// Sessions whose calls are counted.
    private static let most = 256

    private struct Entry {
        let session: OwnSession
        var isCalling = false
        var lastUse = monotonicNanoseconds()
    }
    private struct State {
        var isOpen = false
        var entries: [String: Entry] = [:]
        /// Those that are about to be borrowed.
        var coming: Set<String> = []
        /// Those that somebody waits for.
        var wanted: [String: Int] = [:]
        /// Of each session, its short calls in a row.
        var calls: [String: Int] = [:]

        mutating func takeOut(_ name: String) -> OwnSession? { entries.removeValue(forKey: name)?.session }
    }
    private let state = Monitor(State())

    /// Those that are borrowed now.
    var names: [String] { state.with { $0.entries.keys.sorted() } }

    /// Lets sessions be borrowed: there is a connection.
    func open() { state.with { $0.isOpen = true } }

    /// Forgets all; a call that runs finds out by itself.
    func close() {
        state.with(wake: true) {
            $0.isOpen = false
            $0.entries = [:]
            $0.calls = [:]
        }
    }

    /// Counts a call that PID 1 made, and how long it took.
    func note(_ name: String, took nanoseconds: UInt64) {
        state.with { state in
            if state.calls.count >= Self.most { state.calls = [:] }
            state.calls[name] = nanoseconds < Self.short ? state.calls[name, default: 0] + 1 : 0
        }
    }

    /// A borrowed session, for one call.
    func take(_ name: String) -> OwnSession? {
        state.with { state in
            guard state.isOpen, state.wanted[name] == nil, state.entries[name]?.isCalling == false else {
                return nil
            }
            state.entries[name]?.isCalling = true
            return state.entries[name]?.session
        }
    }

    /// Borrows it, where that seems to be worth it, for one call.
    func borrow(_ name: String, _ lend: () -> OwnSession?) -> OwnSession? {
        let isWorthIt = state.with { state in
            guard state.isOpen, state.wanted[name] == nil, state.entries[name] == nil,
                state.calls[name, default: 0] >= Self.enough
            else { return false }
            return state.coming.insert(name).inserted
        }
        guard isWorthIt else { return nil }
        let session = lend()
        state.with(wake: true) { state in
            state.coming.remove(name)
            state.calls[name] = session == nil ? Self.refused : 0
            if let session { state.entries[name] = Entry(session: session, isCalling: true) }
        }
        return session
    }

    /// The end of a call.
    func leave(_ session: OwnSession) {
        state.with(wake: true) { state in
            guard state.entries[session.name]?.session === session else { return }
            state.entries[session.name]?.isCalling = false
            state.entries[session.name]?.lastUse = monotonicNanoseconds()
        }
    }

    /// The same for the last one: it is ours no more.
    func drop(_ session: OwnSession) {
        state.with(wake: true) { state in
            if state.entries[session.name]?.session === session { _ = state.takeOut(session.name) }
        }
    }

    /// Takes one out, once its call is over, which is short; nil where there is none, or it is not over by `deadline`.
    func takeOut(_ name: String, until deadline: UInt64) -> OwnSession? {
        let isThere = state.with { state in
            guard state.entries[name] != nil || state.coming.contains(name) else { return false }
            state.wanted[name, default: 0] += 1
            return true
        }
        guard isThere else { return nil }
        let isFree = state.wait(until: deadline) { state -> Bool? in
            state.coming.contains(name) || state.entries[name]?.isCalling == true ? nil : true
        }
        return state.with { state in
            state.wanted[name, default: 1] -= 1
            if state.wanted[name] == 0 { state.wanted[name] = nil }
            return isFree == nil || state.entries[name]?.isCalling == true ? nil : state.takeOut(name)
        }
    }

    /// Takes all of them out, and then none is borrowed until `open`; nil where a call is not over by `deadline`.
    func takeOutAll(until deadline: UInt64) -> [OwnSession]? {
        state.with { $0.isOpen = false }
        let all = state.wait(until: deadline) { state -> [OwnSession]? in
            guard state.coming.isEmpty, !state.entries.values.contains(where: \.isCalling) else { return nil }
            defer { state.entries = [:] }
            state.calls = [:]
            return state.entries.values.map(\.session)
        }
        if all == nil { open() }
        return all
    }

    /// Takes those out that nobody has used for a while; and when to look again.
    func takeOutIdle(now: UInt64) -> (sessions: [OwnSession], next: UInt64?) {
        state.with { state in
            let idle = state.entries.values.filter { !$0.isCalling && $0.lastUse + Self.idle <= now }
            for one in idle { _ = state.takeOut(one.session.name) }
            let first = state.entries.values.map { $0.isCalling ? now : $0.lastUse }.min()
            return (idle.map(\.session), first.map { $0 + Self.idle })
        }
    }
}
