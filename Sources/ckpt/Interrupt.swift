import Glibc

/// Ctrl-C: ckpt says so and exits with 125, and the kernel closes its connection, by which the server knows.
enum Interrupt {
    /// Whether a spinner's line has to be erased first; written by one thread, read by the signal handler.
    nonisolated(unsafe) static var spinnerShows: sig_atomic_t = 0

    /// Lets Ctrl-C end the process with an exit code.
    static func install() {
        signal(SIGINT) { _ in
            if Interrupt.spinnerShows != 0 {
                // Only write(2) and _exit(2) may be called here (signal-safety(7)).
                let erase: StaticString = "\r\u{1B}[K"
                _ = write(STDERR_FILENO, erase.utf8Start, erase.utf8CodeUnitCount)
            }
            let said: StaticString =
                "ckpt: interrupted: the operation was given up (hint: sandboxes run on as before; nothing is left of it)\n"
            _ = write(STDERR_FILENO, said.utf8Start, said.utf8CodeUnitCount)
            _exit(ExitStatus.failure)
        }
    }
}
