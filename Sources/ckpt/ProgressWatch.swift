import Client
import CommandInterface
import Glibc
import LinuxSystem
import Messages

/// What a spinner's line says beside what is being done.
enum Watched: Sendable {
    case nothing
    /// An operation of the server, by its name in the API, and the sandbox it is on.
    case operation(String, sandbox: String? = nil)
    /// A copy of so many bytes; `total` is looked up once, on another thread, and may take its time.
    case bytes(WorkCount, total: @Sendable () -> Int64?)
}

/// Follows an operation, and says how far it has come.
final class ProgressWatch: Sendable {
    private struct State {
        var text: String?
        var isOver = false
        var interrupter: Interrupter?
        /// The server's number of the operation.
        var task: UInt64?
    }
    private let state = Monitor(State())
    private let style: Style
    private let began = monotonicNanoseconds()

    /// Watches once the operation takes longer than a moment.
    init(_ watched: Watched, root: String, style: Style) {
        self.style = style
        switch watched {
        case .nothing: break
        case .operation(let operation, let sandbox):
            startThread { self.follow(operation, sandbox, root: root) }
        case .bytes(let count, let total): startThread { self.follow(count, total) }
        }
    }

    /// How far it has come; nil where nobody knows.
    var text: String? { state.with { $0.text } }

    /// Ends the watching.
    func stop() {
        state.with(wake: true) { state in
            state.isOver = true
            state.interrupter?.interrupt()
        }
    }

    /// A server that does not tell is no reason to fail.
    private func follow(_ operation: String, _ sandbox: String?, root: String) {
        if isOver(within: 250_000_000) { return }
        let client = Client(root: root, launch: nil)
        let goesOn = state.with { state in
            state.interrupter = client.interrupter
            return !state.isOver
        }
        if !goesOn { return }
        let filter = EventFilter(sandbox: sandbox, kinds: [.progress])
        try? client.events(filter: filter) { event in
            if event.operation == operation, let progress = event.progress { self.take(progress) }
            return !self.state.with { $0.isOver }
        }
    }

    /// Somebody else's operation of that name may be under way as well: what began before this one is not this one.
    private func take(_ progress: ProgressInfo) {
        let age = Double(monotonicNanoseconds() - began) / 1e6
        state.with { state in
            if state.task == nil, progress.elapsedMs <= age { state.task = progress.task }
            if state.task == progress.task { state.text = progressText(progress, style: style) }
        }
    }

    private func follow(_ count: WorkCount, _ total: @Sendable () -> Int64?) {
        if isOver(within: 250_000_000) { return }
        let total = total()
        let began = monotonicNanoseconds()
        while !isOver(within: 100_000_000) {
            let progress = ProgressInfo(
                task: 0, phase: "", done: count.value, total: total.map { max($0, count.value) },
                unit: .bytes,
                elapsedMs: Double(monotonicNanoseconds() - began) / 1e6)
            state.with { $0.text = progressText(progress, style: style) }
        }
    }

    private func isOver(within nanoseconds: UInt64) -> Bool {
        state.wait(until: monotonicNanoseconds() + nanoseconds) { $0.isOver ? true : nil } ?? false
    }
}

/// Bytes of the regular files at a path of this machine, links not followed.
func bytesBelow(_ path: String) -> Int64 {
    guard let status = try? FileStatus(path, follow: false) else { return 0 }
    if status.isRegular { return status.size }
    guard status.mode & S_IFMT == S_IFDIR else { return 0 }
    return ((try? Files.names(in: path)) ?? []).reduce(0) { $0 + bytesBelow("\(path)/\($1)") }
}
