import CLinux
import CTwin
import Glibc
public import LinuxSystem

/// Why twins were not made, or a sandbox not brought back to them.
public enum TwinError: Error, Sendable {
    /// Nothing has changed; the sentence says what stands against it.
    case refused(String)
    /// What runs in the sandbox is not to be trusted any more.
    case broken(String)
}

/// The process that holds the twins of one sandbox (Sources/CTwin).
///
/// When the value goes, the process and with it the twins end.
public final class TwinHolder: Sendable {
    private let socket: Descriptor
    private let holder: Int32
    /// Who asks it has it until all is answered.
    private let turn = Monitor(())
    /// Whether what was refused last may be otherwise in a moment.
    private let isPassing = Monitor(false)

    /// The word after the program's name that makes it a holder of twins.
    public static let command = "__hold-twins"

    /// Starts one from the program at `executable`, which calls `ctwin_hold(3)` at that word.
    public init(executable: String) throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        let kind = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        try retrying("socketpair") { socketpair(AF_UNIX, kind, 0, &ends) }
        socket = Descriptor(owning: ends[0])
        holder = try Self.spawn(executable, Descriptor(owning: ends[1]))
    }

    deinit {
        shutdown(socket.raw, Int32(SHUT_RDWR))
        // It ends by itself: its socket is closed.
        while waitpid(holder, nil, 0) < 0 && errno == EINTR {}
    }

    private static func spawn(
        _ executable: String, _ socket: consuming Descriptor
    ) throws(SystemError) -> Int32 {
        let words: [UnsafeMutablePointer<CChar>?] = [strdup(executable), strdup(command), nil]
        defer { words.forEach { free($0) } }
        let kept = [socket.raw]
        let empty: [UnsafeMutablePointer<CChar>?] = [nil]
        var failure = clinux_spawn_failure()
        let pid = words.withUnsafeBufferPointer { words in
            empty.withUnsafeBufferPointer { empty in
                kept.withUnsafeBufferPointer { kept in
                    var worker = clinux_worker()
                    worker.path = UnsafePointer(words[0])
                    worker.argv = words.baseAddress
                    worker.envp = empty.baseAddress
                    (worker.kept, worker.kept_count) = (kept.baseAddress, 1)
                    worker.netns_fd = -1
                    worker.umask = 0o077
                    return clinux_spawn_worker(&worker, &failure)
                }
            }
        }
        guard pid > 0 else { throw SystemError(call: "spawn", code: failure.code, subject: executable) }
        return pid
    }

    /// Stops every process of the sandbox, copies it, as set `set`, and lets all go on. Returns how many there are, PID 1
    /// included. `initProcess` is the host's pid of PID 1, here and below. `meanwhile` is called while they are copied,
    /// and none goes on before it is done; what it finds counts where this does not throw, and it is called anew where
    /// something that stood against it will have passed.
    public func make(
        _ set: UInt64, of initProcess: Int32, meanwhile: () -> Void
    ) throws(TwinError) -> Int {
        try turn.with { (_) throws(TwinError) in
            for _ in 1..<Self.tries {
                do throws(TwinError) { return try makeOnce(set, of: initProcess, meanwhile) } catch {
                    guard case .refused = error, isPassing.with({ $0 }) else { throw error }
                    usleep(Self.pause)
                }
            }
            return try makeOnce(set, of: initProcess, meanwhile)
        }
    }

    /// How often a set is tried to be made, and how long the sandbox runs on in between, in microseconds.
    private static let (tries, pause): (Int, UInt32) = (4, 1000)

    private func makeOnce(
        _ set: UInt64, of initProcess: Int32, _ meanwhile: () -> Void
    ) throws(TwinError) -> Int {
        let held = try ask(CTWIN_MAKE, initProcess, set)
        guard held.answer == CTWIN_HELD.rawValue else {
            throw .broken("the holder of twins is out of step")
        }
        meanwhile()
        try send(CTWIN_GO)
        let made = Result(catching: answer)
        let isPassing = isPassing.with { $0 }
        _ = try answer()
        self.isPassing.with { $0 = isPassing }
        return Int(try made.get().processes)
    }

    /// Stops every process of the sandbox and notes what each is made of beside memory and descriptors; all stand still
    /// until `go`. Returns an array of `struct cnote` (Sources/CTwin/include/cnote.h) and what that refers to, and how many
    /// processes there are, PID 1 first. `meanwhile` is called with the host's pids of some when they stand still, and may
    /// look at all of them but memory and mappings.
    public func note(
        of initProcess: Int32, meanwhile: ([Int32]) -> Void
    ) throws(TwinError) -> (bytes: [UInt8], count: Int) {
        let held = try ask(CTWIN_NOTE, initProcess)
        guard held.answer == CTWIN_HELD.rawValue else { throw .broken("the holder of twins is out of step") }
        meanwhile(
            withUnsafeBytes(of: held.pids) {
                Array($0.bindMemory(to: Int32.self).prefix(Int(held.processes)))
            })
        return try notes(try answer())
    }

    /// Notes the same of a set's originals, as they were when it was made: the host's pids are those of the copies. They
    /// run on.
    public func note(_ set: UInt64) throws(TwinError) -> (bytes: [UInt8], count: Int) {
        try turn.with { (_) throws(TwinError) in try notes(try ask(CTWIN_NOTE_SET, 0, set)) }
    }

    private func notes(_ reply: ctwin_reply) throws(TwinError) -> (bytes: [UInt8], count: Int) {
        let size = Int(reply.notes_size)
        var code: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            code = clinux_read_memory(holder, UInt(reply.notes), buffer.baseAddress, UInt(size))
            count = code == 0 ? size : 0
        }
        guard code == 0 else {
            throw Self.gone(SystemError(call: "process_vm_readv", code: code, subject: "the holder of twins"))
        }
        return (bytes, Int(reply.processes))
    }

    /// Has PID 1 of a fresh sandbox, and those it makes, follow a plan up to the point where their memory is to be filled;
    /// the host's pids, in the order of the plan's notes.
    ///
    /// `script` is to lie a page behind `place`, which has `room` bytes; `notes` is an array of struct cnote.
    public func rebuild(
        from initProcess: Int32, script: [UInt8], notes: [UInt8], place: UInt64, room: UInt64
    ) throws(TwinError) -> [Int32] {
        let count = notes.count / MemoryLayout<cnote>.stride
        let begun = try script.withUnsafeBufferPointer { (script) throws(TwinError) -> ctwin_reply in
            try notes.withUnsafeBufferPointer { (notes) throws(TwinError) -> ctwin_reply in
                var plan = crebuild_plan(
                    place: place, room: room, script: UInt64(UInt(bitPattern: script.baseAddress)),
                    script_size: UInt64(script.count), notes: UInt64(UInt(bitPattern: notes.baseAddress)),
                    count: UInt64(count))
                return try withUnsafeBytes(of: &plan) { (plan) throws(TwinError) -> ctwin_reply in
                    try ask(CTWIN_REBUILD, initProcess, UInt64(UInt(bitPattern: plan.baseAddress)))
                }
            }
        }
        guard begun.answer == CTWIN_HELD.rawValue else { throw .broken("the holder of twins is out of step") }
        _ = try answer()
        return withUnsafeBytes(of: begun.pids) {
            Array($0.bindMemory(to: Int32.self).prefix(Int(begun.processes)))
        }
    }

    /// After `rebuild` and the filling of memory: all stand still as they were saved, until `go`.
    public func finishRebuilding() throws(TwinError) { _ = try ask(CTWIN_REBUILD_END) }

    /// Ends what `rebuild` made.
    public func dropRebuilt() throws(TwinError) { _ = try ask(CTWIN_REBUILD_DROP) }

    /// Lets the processes that `note` or `rebuild` stopped go on.
    public func go() throws(TwinError) { _ = try ask(CTWIN_GO) }

    /// Ends every process but PID 1, forks the twins of a set under the pids of the originals, makes PID 1 what it was, and
    /// lets all go on. `meanwhile` puts the files back; where it throws nothing goes on. `.refused` means that nothing has
    /// changed.
    public func revive(
        _ set: UInt64, of initProcess: Int32, meanwhile: () throws(TwinError) -> Void
    ) throws(TwinError) {
        try turn.with { (_) throws(TwinError) in
            _ = try ask(CTWIN_CLEAR, initProcess, set)
            try send(CTWIN_REVIVE, initProcess, set)
            let files = Result(catching: meanwhile)
            try send((try? files.get()) == nil ? CTWIN_STAY : CTWIN_GO)
            let revived = Result(catching: answer)
            _ = Result(catching: answer)
            try files.get()
            _ = try revived.get()
        }
    }

    /// Ends the twins of a set.
    public func drop(_ set: UInt64) { turn.with { _ in _ = try? ask(CTWIN_DROP, 0, set) } }

    private func ask(
        _ kind: ctwin_request_kind, _ initProcess: Int32 = 0, _ set: UInt64 = 0
    ) throws(TwinError) -> ctwin_reply {
        try send(kind, initProcess, set)
        return try answer()
    }

    private func send(
        _ kind: ctwin_request_kind, _ initProcess: Int32 = 0, _ set: UInt64 = 0
    ) throws(TwinError) {
        var request = ctwin_request(
            kind: kind.rawValue, init: initProcess, set: set, asker: sched_getcpu(), none: 0)
        let number = socket.raw
        do throws(SystemError) {
            try retrying("send") {
                Glibc.send(number, &request, MemoryLayout<ctwin_request>.size, Int32(MSG_NOSIGNAL))
            }
        } catch { throw Self.gone(error) }
    }

    private static func gone(_ error: SystemError) -> TwinError {
        .broken("the process that holds the twins is gone (\(error.description))")
    }

    private func answer() throws(TwinError) -> ctwin_reply {
        var reply = ctwin_reply()
        let size = MemoryLayout<ctwin_reply>.size
        let number = socket.raw
        do throws(SystemError) {
            lookOut(for: number)
            let got = try retrying("recv") { recv(number, &reply, size, 0) }
            guard got == size else { throw SystemError(call: "recv", code: EPIPE) }
        } catch { throw Self.gone(error) }
        let text = withUnsafeBytes(of: reply.text) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        isPassing.with { $0 = reply.is_passing != 0 }
        switch reply.answer {
        case CTWIN_DONE.rawValue, CTWIN_HELD.rawValue: return reply
        case CTWIN_REFUSED.rawValue: throw .refused(text)
        default: throw .broken(text)
        }
    }
}
