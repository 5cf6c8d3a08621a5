import Client
import Glibc
import LinuxSystem
import Messages

/// Removes the sandbox of `ckpt run --rm` when a signal ends ckpt before its command has ended: nobody else knows of it.
///
/// The signals are blocked from the beginning to the process's end, and one thread waits for them (sigwait(3)).
final class RemovalOnSignal: Sendable {
    private struct State {
        var thread: pthread_t?
        var name: String?
        /// Somebody else sees to the signals and to the sandbox from now on, or there is none.
        var isOver = false
        /// A signal has come, and this process ends by it.
        var isEnding = false
    }
    private let state = Monitor(State())
    private let root: String

    /// The last one is the thread's own: it wakes it.
    private static var signals: sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for number in [SIGINT, SIGTERM, SIGHUP, SIGWINCH] { sigaddset(&set, number) }
        return set
    }

    /// Takes the signals away from this thread and from those that it starts; a server it starts has its own.
    init(root: String) {
        self.root = root
        var set = Self.signals
        pthread_sigmask(SIG_BLOCK, &set, nil)
        startThread { self.watch() }
    }

    /// The sandbox to remove; does not return when a signal has come.
    func made(_ name: String) {
        let isEnding = state.with(wake: true) { state in
            state.name = name
            return state.isEnding
        }
        if isEnding { waitForEnd() }
    }

    /// Leaves signals that come from now on to who asks for them next; does not return when one has come.
    func stop() {
        let thread = state.wait { $0.thread }
        let (isEnding, wasOver) = state.with(wake: true) { state in
            defer { state.isOver = true }
            return (state.isEnding && state.name != nil, state.isOver)
        }
        if isEnding { waitForEnd() }
        if let thread, !wasOver { pthread_kill(thread, SIGWINCH) }
    }

    private func waitForEnd() { while true { pause() } }

    private func watch() {
        state.with(wake: true) { $0.thread = pthread_self() }
        var set = Self.signals
        var number: Int32 = 0
        while number == 0 || number == SIGWINCH {
            if state.with({ $0.isOver }) { return }
            guard sigwait(&set, &number) == 0 else { return }
        }
        let isOver = state.with { state in
            state.isEnding = !state.isOver
            return state.isOver
        }
        if isOver {
            // It came in the moment of the handing over, and is not lost.
            kill(getpid(), number)
            return
        }
        // Whoever does not want to wait for the removal asks a second time.
        pthread_sigmask(SIG_UNBLOCK, &set, nil)
        let name = state.wait { state -> String?? in
            if let name = state.name { return name }
            return state.isOver ? .some(nil) : nil
        }
        if let name = name ?? nil { end(number, removing: name) }
    }

    private func end(_ number: Int32, removing name: String) -> Never {
        do {
            try Client(root: root, launch: nil).remove(name, force: true)
            Interrupt.say("ckpt: interrupted: the sandbox was removed\n")
        } catch {
            Interrupt.say(
                "ckpt: interrupted, and the sandbox could not be removed (hint: 'ckpt ps' shows it)\n")
        }
        if number == SIGINT { _exit(ExitStatus.failure) }
        signal(number, SIG_DFL)
        kill(getpid(), number)
        while true { pause() }
    }
}
