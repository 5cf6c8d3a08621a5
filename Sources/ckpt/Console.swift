import CommandInterface
import FoundationEssentials
import Glibc
import LocalArchive
import LinuxSystem
import Messages

/// Where a command's words go: results on stdout, everything else on stderr.
struct Console: Sendable {
    let json: Bool
    let verbose: Bool
    let outStyle: Style
    let errorStyle: Style

    init(json: Bool, verbose: Bool) {
        self.json = json
        self.verbose = verbose
        outStyle = Style(width: terminalWidth(STDOUT_FILENO), environment: environmentForStyle())
        errorStyle = Style(width: terminalWidth(STDERR_FILENO), environment: environmentForStyle())
    }

    /// Prints lines on stdout.
    func printLines(_ lines: [String]) throws {
        try writeAll(lines.map { $0 + "\n" }.joined(), to: STDOUT_FILENO)
    }

    /// Prints a value on stdout as one line of JSON.
    func printJSON(_ value: some Encodable) throws { try printLines([encoded(value)]) }

    /// Prints a value as JSON when that was asked for, else `lines`.
    func print(_ value: some Encodable, lines: @autoclosure () -> [String]) throws {
        if json { try printJSON(value) } else { try printLines(lines()) }
    }

    /// Says something to the person, on stderr.
    func note(_ text: String) { try? writeAll("ckpt: \(errorStyle.clean(text))\n", to: STDERR_FILENO) }

    /// Says on stderr where the time went, when that was asked for.
    func noteTimings(_ timings: Timings?) {
        if verbose, let timings { note("took \(timingText(timings))") }
    }

    /// Reports an error on stderr: a line for people, or `{"error": …}` with `--json`.
    func report(_ error: ErrorMessage) {
        if json {
            try? writeAll(encoded(["error": error]) + "\n", to: STDERR_FILENO)
        } else {
            let prefix = errorStyle.paint("ckpt:", .bad)
            try? writeAll("\(prefix) \(errorStyle.clean(error.description))\n", to: STDERR_FILENO)
        }
    }

    private func encoded(_ value: some Encodable) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Messages hold nothing that JSON cannot say but numbers without a value.
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        guard let data = try? encoder.encode(value) else { return "null" }
        return String(decoding: data, as: UTF8.self)
    }
}

/// Stdout can take no more; thrown to end the command.
struct OutputClosed: Error {
    let exitCode: Int32
}

/// Writes all of `text` to a descriptor.
func writeAll(_ text: String, to descriptor: Int32) throws {
    var text = text
    try text.withUTF8 { try writeAll(UnsafeRawBufferPointer($0), to: descriptor) }
}

/// Writes all of `bytes`; a reader that went away ends the command as SIGPIPE would.
func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) throws {
    var left = bytes[...]
    while !left.isEmpty {
        let count = write(descriptor, UnsafeRawBufferPointer(rebasing: left).baseAddress, left.count)
        if count < 0, errno == EINTR { continue }
        if count < 0, errno == EAGAIN {
            var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            poll(&ready, 1, -1)
            continue
        }
        if count < 0, errno == EPIPE { throw OutputClosed(exitCode: 128 + SIGPIPE) }
        guard count > 0 else {
            throw ErrorMessage(.noSpace, "cannot write the output", cause: String(cString: strerror(errno)))
        }
        left = left.dropFirst(count)
    }
}

/// Any error as the API would put it.
func errorMessage(_ error: any Error) -> ErrorMessage {
    switch error {
    case let message as ErrorMessage: message
    case let error as ArchiveError: ErrorMessage(.internal, error.description)
    case let error as SystemError: ErrorMessage(.internal, error.description)
    default: ErrorMessage(.internal, "\(error)")
    }
}

/// The width of the terminal behind a descriptor in columns; nil when it is none.
private func terminalWidth(_ descriptor: Int32) -> Int? {
    guard isatty(descriptor) == 1 else { return nil }
    var size = winsize()
    guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
    return Int(size.ws_col)
}

private func environmentForStyle() -> [String: String] {
    var found: [String: String] = [:]
    for name in ["LC_ALL", "LC_CTYPE", "LANG", "NO_COLOR", "TERM"] { found[name] = environmentValue(name) }
    return found
}

/// A variable of ckpt's own environment.
func environmentValue(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
