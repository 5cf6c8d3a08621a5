import Glibc

/// The whole terminal for a while: lines that replace each other, until q or Ctrl-C.
///
/// The terminal is as before once `leave` was called, and when SIGINT, SIGTERM or SIGHUP ends the process.
final class LiveScreen {
    // Written before the handlers are installed, and only read by them.
    private nonisolated(unsafe) static var before = termios()
    private nonisolated(unsafe) static var hasKeys = false
    private static let enter: StaticString = "\u{1B}[?1049h\u{1B}[?25l"
    private static let exit: StaticString = "\u{1B}[?25h\u{1B}[?1049l"
    private static let signals = [SIGINT, SIGTERM, SIGHUP]

    /// Takes the terminal on stdout, and the keys of the one on stdin.
    init() {
        Self.hasKeys = tcgetattr(STDIN_FILENO, &Self.before) == 0
        for number in Self.signals {
            signal(number) { number in
                // Only what signal-safety(7) allows.
                LiveScreen.putBack()
                _exit(128 + number)
            }
        }
        if Self.hasKeys {
            var settings = Self.before
            settings.c_lflag &= ~tcflag_t(ICANON | ECHO | ISIG)
            tcsetattr(STDIN_FILENO, TCSADRAIN, &settings)
        }
        Self.put(Self.enter)
    }

    /// Gives the terminal back.
    func leave() {
        Self.putBack()
        for number in Self.signals { signal(number, SIG_DFL) }
        Interrupt.install()
    }

    /// Shows as many of the lines as fit.
    func show(_ lines: [String]) {
        var size = winsize()
        let known = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_row > 1
        let shown = lines.prefix(known ? Int(size.ws_row) - 1 : 24)
        let text = "\u{1B}[H" + shown.map { $0 + "\u{1B}[K\r\n" }.joined() + "\u{1B}[J"
        try? writeAll(text, to: STDOUT_FILENO)
    }

    /// Waits so many seconds for q, Escape, Ctrl-C or Ctrl-D; whether one of them came.
    func isLeft(within seconds: Double) -> Bool {
        guard Self.hasKeys else {
            usleep(UInt32(seconds * 1e6))
            return false
        }
        var entry = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
        guard poll(&entry, 1, Int32(seconds * 1000)) > 0 else { return false }
        var key: UInt8 = 0
        let count = read(STDIN_FILENO, &key, 1)
        return count <= 0 || [3, 4, 27, UInt8(ascii: "q"), UInt8(ascii: "Q")].contains(key)
    }

    private static func putBack() {
        put(exit)
        if hasKeys { tcsetattr(STDIN_FILENO, TCSANOW, &before) }
    }

    private static func put(_ text: StaticString) {
        _ = write(STDOUT_FILENO, text.utf8Start, text.utf8CodeUnitCount)
    }
}
