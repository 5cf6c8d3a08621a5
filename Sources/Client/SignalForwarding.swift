import Glibc
import LinuxSystem

/// Takes this process's signals and passes them on to a command.
///
/// The signals are blocked, and one thread waits for them (sigwait(3)): no handler runs at an awkward moment.
final class SignalForwarding: @unchecked Sendable {
    // Sendable because the stored sets are written in init and only read afterwards; the rest is in a
    // Monitor.
    private var set = sigset_t()
    private var before = sigset_t()
    private let pipeBefore: (@convention(c) (Int32) -> Void)?
    private let state = Monitor(State())

    private struct State {
        var started = false
        var thread: pthread_t?
        var stopping = false
        var finished = false
    }

    /// Blocks `signals` in this thread and those it starts, and ignores SIGPIPE.
    init(_ signals: [Int32]) {
        pipeBefore = signal(SIGPIPE, SIG_IGN)
        sigemptyset(&set)
        signals.forEach { sigaddset(&set, $0) }
        pthread_sigmask(SIG_BLOCK, &set, &before)
    }

    /// Passes signals on to `stream` from now on.
    func start(_ stream: ExecStream, tty: Bool) {
        state.with { $0.started = true }
        startThread { self.forward(to: stream, tty: tty) }
    }

    /// Gives the signals back. One that arrived and was not passed on takes its usual effect.
    func restore() {
        let started = state.with { state in
            state.stopping = true
            return state.started
        }
        if started, let thread = state.wait({ $0.thread }) {
            pthread_kill(thread, SIGWINCH)
            _ = state.wait { $0.finished ? true : nil }
        }
        signal(SIGPIPE, pipeBefore)
        pthread_sigmask(SIG_SETMASK, &before, nil)
    }

    private func forward(to stream: ExecStream, tty: Bool) {
        defer { state.with(wake: true) { $0.finished = true } }
        state.with(wake: true) { $0.thread = pthread_self() }
        var set = self.set
        var passedOn: Set<Int32> = []
        while true {
            var number: Int32 = 0
            guard sigwait(&set, &number) == 0 else { continue }
            if state.with({ $0.stopping }) { return }
            switch number {
            case SIGWINCH:
                if tty, let size = TerminalSize.current {
                    stream.resize(rows: size.rows, columns: size.columns)
                }
            case SIGHUP:
                stream.signal(SIGHUP)
                stream.detach()
            default:
                // Asked a second time: what would not end by itself is ended, and not waited for.
                let again = !passedOn.insert(number).inserted
                stream.signal(again ? SIGKILL : number)
                if again { stream.detach() }
            }
        }
    }
}
