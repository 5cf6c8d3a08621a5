import CommandInterface
import Glibc
import LinuxSystem

/// Shows on a terminal that something is still going on, once it takes longer than a moment.
final class Spinner: Sendable {
    private let stopped = Monitor(false)
    private let cleared = Monitor(false)

    /// Starts to watch; nothing is shown when stderr is no terminal. `detail` says how far it has come.
    init(_ doing: String, style: Style, detail: @escaping @Sendable () -> String? = { nil }) {
        guard let width = style.width else {
            cleared.with { $0 = true }
            return
        }
        let frames =
            style.unicode ? ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"] : ["|", "/", "-", "\\"]
        startThread { [stopped, cleared] in
            let start = monotonicNanoseconds()
            var wake = start + 300_000_000
            var frame = 0
            while stopped.wait(until: wake, { $0 ? true : nil }) == nil {
                let seconds = decimal(Double(monotonicNanoseconds() - start) / 1e9, digits: 1)
                let words = [frames[frame], detail().map { "\(doing): \($0)" } ?? doing, "\(seconds) s"]
                let line = trimmed(words.joined(separator: " "), to: width - 1, ellipsis: "")
                Interrupt.spinnerShows = 1
                try? writeAll("\r\u{1B}[K" + line, to: STDERR_FILENO)
                frame = (frame + 1) % frames.count
                wake = monotonicNanoseconds() + 100_000_000
            }
            if Interrupt.spinnerShows != 0 { try? writeAll("\r\u{1B}[K", to: STDERR_FILENO) }
            Interrupt.spinnerShows = 0
            cleared.with(wake: true) { $0 = true }
        }
    }

    /// Takes the spinner away; the line is free when this returns.
    func stop() {
        stopped.with(wake: true) { $0 = true }
        _ = cleared.wait { $0 ? true : nil }
    }
}
