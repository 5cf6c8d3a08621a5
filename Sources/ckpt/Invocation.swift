import Client
import CommandInterface
import Glibc
import LinuxSystem
import Messages

/// One call of a command: its words, its console and its way to the server.
struct Invocation: Sendable {
    let words: ParsedWords
    let console: Console

    /// Where sandboxes and snapshots are kept.
    var root: String { RootDirectory.choose(option: words.value("root")) }

    /// A client of the root's server, which is started when none runs.
    func client() -> Client { Client(root: root) }

    /// A client of the server that runs already; nil when none does.
    func clientOfRunningServer() throws -> Client? {
        let client = Client(root: root, launch: nil)
        do throws(ErrorMessage) {
            _ = try client.version()
            return client
        } catch {
            if error.code == .notFound { return nil }
            throw error
        }
    }

    /// Does something that may take a while, with a line on the terminal that says how far it has come. `interrupted`
    /// says what becomes of it on Ctrl-C.
    func waiting<Result>(
        _ doing: String, _ watched: Watched = .nothing, interrupted: Interrupt.Outcome,
        _ body: () throws -> Result
    ) rethrows -> Result {
        Interrupt.means(interrupted)
        defer { Interrupt.means(.nothing) }
        let style = console.errorStyle
        if style.width == nil || console.json { return try body() }
        let watch = ProgressWatch(watched, root: root, style: style)
        let spinner = Spinner(doing, style: style) { watch.text }
        defer {
            watch.stop()
            spinner.stop()
        }
        return try body()
    }

    /// Does the same for each of several names; goes on after a failure, and returns the exit code.
    func forEach(_ names: [String], _ body: (String) throws -> Void) -> Int32 {
        var code: Int32 = 0
        for name in names {
            do {
                try body(name)
            } catch {
                console.report(errorMessage(error))
                code = ExitStatus.failure
            }
        }
        return code
    }
}

/// Does something with a file of this machine, and says so where that fails.
func local<Result: ~Copyable>(
    _ what: String, _ body: () throws(SystemError) -> Result
) throws(ErrorMessage) -> Result {
    do throws(SystemError) { return try body() } catch {
        let code: ErrorMessage.Code = error.code == ENOENT ? .notFound : .badValue
        throw ErrorMessage(code, "cannot \(what) on this machine", cause: error.reason)
    }
}

/// A path of this machine, made absolute.
func absolute(_ path: String) -> String {
    if path.hasPrefix("/") { return path }
    guard let current = getcwd(nil, 0) else { return path }
    defer { free(current) }
    return String(cString: current) + "/" + path
}

/// Seconds since 1970.
func currentTime() -> Double {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
}
