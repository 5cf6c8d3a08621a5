import Glibc
import Messages

/// Ctrl-C and other requests to end: what is under way comes to its end, then everything is cleared away.
enum Interruption {
    /// Written by the signal handler.
    nonisolated(unsafe) private static var isRequested: sig_atomic_t = 0

    /// Takes SIGINT, SIGTERM and SIGHUP from here on.
    static func watch() {
        // The handler must not be the first to touch it.
        isRequested = 0
        for number in [SIGINT, SIGTERM, SIGHUP] { signal(number) { _ in Interruption.isRequested = 1 } }
    }

    /// Throws `cancelled` once an end was asked for.
    static func check() throws(ErrorMessage) {
        if isRequested != 0 {
            throw ErrorMessage(.cancelled, "interrupted: what was begun is cleared away")
        }
    }
}
