import Client
import CommandInterface
import Glibc
import LinuxSystem
import Messages

/// Ties ckpt's own streams and signals to those of a command in a sandbox.
struct ExecStreams {
    let interactive: Bool
    let tty: Bool

    /// Runs a command to its end.
    func run(_ client: Client, _ name: String, _ request: ExecRequest) throws -> ExecResult {
        var request = request
        request.interactive = interactive ? true : nil
        if tty {
            request.tty = true
            if let size = terminalSize() { (request.rows, request.columns) = (size.ws_row, size.ws_col) }
            if let term = environmentValue("TERM"), request.env?["TERM"] == nil {
                request.env = (request.env ?? [:]).merging(["TERM": term]) { own, _ in own }
            }
        }
        let stream = try client.attach(name, request)
        // A server that attach started has our signal mask no longer to inherit.
        let terminal = tty && interactive ? RawTerminal() : nil
        defer { terminal?.restore() }
        forwardSignals(to: stream, terminal)
        if interactive { startThread { pumpStandardInput(to: stream) } }
        return try follow(stream)
    }

    private func follow(_ stream: ExecStream) throws -> ExecResult {
        while true {
            switch try stream.next() {
            case .output(let source, let bytes):
                do {
                    let target = source == .stderr ? STDERR_FILENO : STDOUT_FILENO
                    try bytes.withUnsafeBytes { try writeAll($0, to: target) }
                } catch {
                    // Nobody reads what the command writes: it would wait for ever.
                    stream.signal(SIGTERM)
                    throw error
                }
            case .exited(let result): return result
            }
        }
    }

    /// Hands signals to the command instead of dying of them; a second one of a kind ends ckpt at once.
    private func forwardSignals(to stream: ExecStream, _ terminal: RawTerminal?) {
        let forwarded = [SIGINT, SIGTERM, SIGQUIT, SIGHUP]
        var watched = sigset_t()
        sigemptyset(&watched)
        for number in forwarded + [SIGWINCH] { sigaddset(&watched, number) }
        // Threads that start from here on have them blocked too, so only sigwait(3) gets them.
        pthread_sigmask(SIG_BLOCK, &watched, nil)
        let followsSize = tty
        startThread { [watched] in
            var watched = watched
            var seen: Set<Int32> = []
            while true {
                var number: Int32 = 0
                guard sigwait(&watched, &number) == 0 else { continue }
                if number == SIGWINCH {
                    guard followsSize, let size = terminalSize() else { continue }
                    stream.resize(rows: size.ws_row, columns: size.ws_col)
                } else if seen.insert(number).inserted {
                    stream.signal(number)
                } else {
                    stream.signal(SIGKILL)
                    terminal?.restore()
                    _exit(128 + number)
                }
            }
        }
    }
}

private func pumpStandardInput(to stream: ExecStream) {
    while let piece = try? readPiece(of: STDIN_FILENO), !piece.isEmpty {
        guard stream.write(piece) else { return }
    }
    stream.closeStdin()
}

private func terminalSize() -> winsize? {
    var size = winsize()
    for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] {
        if ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 0, size.ws_col > 0 { return size }
    }
    return nil
}

/// The terminal on stdin, handing every key on as it is pressed until it is restored.
private struct RawTerminal: Sendable {
    private let before: termios

    /// Makes it raw (cfmakeraw(3)); nil when stdin is no terminal.
    init?() {
        var settings = termios()
        guard tcgetattr(STDIN_FILENO, &settings) == 0 else { return nil }
        before = settings
        cfmakeraw(&settings)
        guard tcsetattr(STDIN_FILENO, TCSADRAIN, &settings) == 0 else { return nil }
    }

    /// Puts its settings back; harmless twice.
    func restore() {
        var settings = before
        tcsetattr(STDIN_FILENO, TCSADRAIN, &settings)
    }
}
