import Glibc

/// Ctrl-C: ckpt says what becomes of the operation and exits with 125, and the kernel closes its connection, by which
/// the server knows.
enum Interrupt {
    /// What becomes of an operation whose client goes away.
    enum Outcome: sig_atomic_t {
        /// It only looked.
        case nothing = 0
        /// The server stops, and undoes what it has begun.
        case givenUp
        /// The server brings it to its end.
        case goesOn
        /// Files that are whole stay.
        case partly

        /// What ckpt says.
        fileprivate var said: StaticString {
            switch self {
            case .nothing: "ckpt: interrupted\n"
            case .givenUp:
                "ckpt: interrupted: the operation was given up (hint: sandboxes run on as before; nothing is left of it)\n"
            case .goesOn:
                "ckpt: interrupted: what the server has begun it ends (hint: 'ckpt events' tells how that went)\n"
            case .partly:
                "ckpt: interrupted: the copy was broken off (hint: files that were copied whole stay; none is there in part)\n"
            }
        }
    }

    /// Whether a spinner's line has to be erased first; written by one thread, read by the signal handler.
    nonisolated(unsafe) static var spinnerShows: sig_atomic_t = 0
    /// What the handler says; written by the main thread.
    nonisolated(unsafe) private static var outcome: sig_atomic_t = 0

    /// Says what becomes of what is done from here on.
    static func means(_ outcome: Outcome) { self.outcome = outcome.rawValue }

    /// Lets Ctrl-C end the process with an exit code.
    static func install() {
        // The handler must not be the first to touch them.
        (spinnerShows, outcome) = (0, Outcome.nothing.rawValue)
        signal(SIGINT) { _ in
            Interrupt.say((Outcome(rawValue: Interrupt.outcome) ?? .nothing).said)
            _exit(ExitStatus.failure)
        }
    }

    /// Says a last word in the place of a spinner's line.
    static func say(_ text: StaticString) {
        // Only write(2) and _exit(2) may be called in a signal's handler (signal-safety(7)).
        if spinnerShows != 0 {
            let erase: StaticString = "\r\u{1B}[K"
            _ = write(STDERR_FILENO, erase.utf8Start, erase.utf8CodeUnitCount)
        }
        _ = write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
    }
}
