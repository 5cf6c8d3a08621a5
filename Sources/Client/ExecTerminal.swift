public import Messages
import Glibc
import LinuxSystem

/// Runs a command as if it ran here: its streams are this process's own.
///
/// With a terminal, keys and the window's size go to the command; without one, SIGINT, SIGTERM and SIGQUIT
/// do, and a second one of a kind kills the command and throws `cancelled`. SIGHUP is passed on and ends the
/// following. Output that nobody reads any more (EPIPE) ends the command with SIGPIPE, as it would here.
public struct ExecTerminal {
    private static let forwarded = [SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGWINCH]
    private let client: Client
    private let sandbox: String

    /// Runs commands in `sandbox`.
    public init(_ client: Client, sandbox: String) {
        self.client = client
        self.sandbox = sandbox
    }

    /// Runs `request` to its end. `interactive` passes stdin on; `tty` puts a local terminal into raw mode
    /// for the while and asks for one inside.
    public func run(_ request: ExecRequest) throws(ErrorMessage) -> ExecResult {
        var request = request
        let tty = request.tty ?? false
        if tty, let size = TerminalSize.current {
            (request.rows, request.columns) = (size.rows, size.columns)
        }
        // Before any thread starts, so that none of them takes these signals.
        let signals = SignalForwarding(ExecTerminal.forwarded)
        defer { signals.restore() }
        let stream = try client.attach(sandbox, request)
        let raw = tty && request.interactive ?? false ? RawTerminal() : nil
        defer { raw?.restore() }
        signals.start(stream, tty: tty)
        let keys = request.interactive ?? false ? StdinPump(stream) : nil
        defer { keys?.stop() }
        return try copyOutput(of: stream)
    }

    private func copyOutput(of stream: ExecStream) throws(ErrorMessage) -> ExecResult {
        var broken: Set<OutputStream> = []
        while true {
            switch try stream.next() {
            case .exited(let result): return result
            case .output(let which, let bytes):
                guard !broken.contains(which) else { continue }
                if !write(bytes, to: which == .stdout ? STDOUT_FILENO : STDERR_FILENO) {
                    broken.insert(which)
                    stream.signal(SIGPIPE)
                }
            }
        }
    }

    /// Writes everything; false when nobody reads any more.
    private func write(_ bytes: ArraySlice<UInt8>, to file: Int32) -> Bool {
        var rest = bytes
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if errno == EAGAIN {
                // Somebody who shares the terminal made it non-blocking.
                var entry = pollfd(fd: file, events: Int16(POLLOUT), revents: 0)
                poll(&entry, 1, -1)
            } else if errno != EINTR {
                return false
            }
        }
        return true
    }
}

/// The local terminal's size, in characters.
struct TerminalSize {
    let rows: UInt16
    let columns: UInt16

    static var current: TerminalSize? {
        var size = winsize()
        for file in [STDOUT_FILENO, STDIN_FILENO, STDERR_FILENO]
        where ioctl(file, UInt(TIOCGWINSZ), &size) == 0 && size.ws_row > 0 && size.ws_col > 0 {
            return TerminalSize(rows: size.ws_row, columns: size.ws_col)
        }
        return nil
    }
}

/// Stdin in raw mode (cfmakeraw(3)), where it is a terminal.
struct RawTerminal {
    private let before: termios

    init?() {
        var settings = termios()
        guard tcgetattr(STDIN_FILENO, &settings) == 0 else { return nil }
        before = settings
        cfmakeraw(&settings)
        guard tcsetattr(STDIN_FILENO, TCSADRAIN, &settings) == 0 else { return nil }
    }

    func restore() {
        var settings = before
        tcsetattr(STDIN_FILENO, TCSADRAIN, &settings)
    }
}

/// Copies this process's stdin into an exec stream.
final class StdinPump: Sendable {
    private let stopPipe: (reading: Int32, writing: Int32)
    private let finished = Monitor(false)

    init(_ stream: ExecStream) {
        var ends: [Int32] = [-1, -1]
        stopPipe = pipe2(&ends, O_CLOEXEC) == 0 ? (ends[0], ends[1]) : (-1, -1)
        startThread { self.pump(into: stream) }
    }

    /// Ends the copying; a key pressed from now on is somebody else's.
    func stop() {
        if stopPipe.writing >= 0 { close(stopPipe.writing) }
        _ = finished.wait { $0 ? true : nil }
        if stopPipe.reading >= 0 { close(stopPipe.reading) }
    }

    private func pump(into stream: ExecStream) {
        defer { finished.with(wake: true) { $0 = true } }
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            var entries = [
                pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0),
                pollfd(fd: stopPipe.reading, events: 0, revents: 0),
            ]
            if poll(&entries, 2, -1) < 0 { continue }
            if entries[1].revents != 0 { return }
            let count = read(STDIN_FILENO, &buffer, buffer.count)
            if count < 0 && (errno == EINTR || errno == EAGAIN) { continue }
            guard count > 0 else { return stream.closeStdin() }
            guard stream.write(Array(buffer[..<count])) else { return }
        }
    }
}
