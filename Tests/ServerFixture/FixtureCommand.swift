import Glibc
import LinuxSystem
import Messages

/// A command of the fixture engine: `pattern N` prints N bytes, `echo` prints its stdin, `break` fails.
///
/// `echo` keeps its stdin in a file, as a sandbox's PID 1 would in its buffer: it goes on where it was after
/// the server was killed.
final class FixtureCommand: AttachedCommand {
    private struct State {
        var position: UInt64
        var acknowledged: UInt64
        var total: UInt64
        var ended: Bool
        var taken: [UInt64] = []
        var exit: ExecResult?
        var failure: ErrorMessage?
        var detached = false
        var finished = false
    }
    let id: String
    let stdinOffset: UInt64
    private let engine: FixtureEngine
    private let state: Monitor<State>
    /// The file that echo's stdin is kept in; -1 for other commands.
    private let file: Int32

    init(_ engine: FixtureEngine, _ request: ExecRequest) throws(ErrorMessage) {
        self.engine = engine
        id = request.id ?? "made-up"
        let offset = request.stdoutOffset ?? 0
        var state = State(position: offset, acknowledged: offset, total: 0, ended: true)
        switch request.argv.first {
        case "pattern":
            file = -1
            stdinOffset = 0
            state.total = UInt64(request.argv[1])!
        case "echo":
            file = open("\(engine.directory)/echo-\(id)", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
            stdinOffset = UInt64(lseek(file, 0, SEEK_END))
            state.total = stdinOffset
            state.ended = access("\(engine.directory)/echo-\(id).end", F_OK) == 0
        case "break":
            file = -1
            stdinOffset = 0
            state.failure = ErrorMessage(.wrongState, "the sandbox died")
        default:
            throw ErrorMessage(.notFound, "there is no \(request.argv.first ?? "command")")
        }
        self.state = Monitor(state)
        let size = request.rows.map { " \($0)x\(request.columns ?? 0)" } ?? ""
        engine.note("attached \(id) at \(offset)\(size)")
    }

    deinit { if file >= 0 { close(file) } }

    func next(deadline: UInt64?) -> AttachedEvent? {
        state.wait(until: deadline) { state -> AttachedEvent?? in
            if state.detached || state.finished { return .some(nil) }
            if !state.taken.isEmpty { return .stdinTaken(upTo: state.taken.removeFirst()) }
            if state.position < state.total {
                // As much ahead of the client as an engine's buffer holds.
                guard state.position - state.acknowledged < 256 << 10 else { return nil }
                return self.output(&state)
            }
            if let failure = state.failure {
                state.finished = true
                return .failed(failure)
            }
            guard state.exit != nil || state.ended else { return nil }
            state.finished = true
            return .exited(
                state.exit
                    ?? ExecResult(id: self.id, exitCode: 0, signal: nil, timedOut: false, durationMs: 1))
        } ?? nil
    }

    private func output(_ state: inout State) -> AttachedEvent {
        let offset = state.position
        let count = Int(min(100_000, state.total - offset))
        var bytes = Pattern.bytes(at: offset, count)
        if file >= 0 { pread(file, &bytes, count, off_t(offset)) }
        state.position += UInt64(count)
        return .output(.stdout, offset: offset, bytes: bytes)
    }

    func acknowledge(_ stream: OutputStream, upTo offset: UInt64) {
        state.with(wake: true) { $0.acknowledged = offset }
    }

    func write(offset: UInt64, _ bytes: [UInt8]) throws(ErrorMessage) {
        state.with(wake: true) { state in
            precondition(offset <= state.total, "a gap in stdin at \(state.total)")
            let new = bytes.dropFirst(Int(state.total - offset))
            new.withUnsafeBytes { _ = pwrite(file, $0.baseAddress, $0.count, off_t(state.total)) }
            state.total += UInt64(new.count)
            state.taken.append(state.total)
        }
    }

    func closeStdin() throws(ErrorMessage) {
        close(open("\(engine.directory)/echo-\(id).end", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600))
        state.with(wake: true) { $0.ended = true }
    }

    func signal(_ number: Int32) throws(ErrorMessage) {
        state.with(wake: true) { state in
            state.exit = ExecResult(
                id: self.id, exitCode: 128 + number, signal: number, timedOut: false, durationMs: 1)
        }
    }

    func resize(rows: UInt16, columns: UInt16) throws(ErrorMessage) {
        engine.note("resized \(rows)x\(columns)")
    }

    func detach() {
        let first = state.with(wake: true) { state in
            defer { state.detached = true }
            return !state.detached
        }
        if first { engine.note("detached \(id) with \(state.with { $0.acknowledged }) sent") }
    }
}
