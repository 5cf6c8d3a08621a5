import Glibc
import LinuxSystem
public import Messages

/// What leads out of a sandbox with `nat`, and in by forwarded ports: a pasta process on the host (passt(1)) that holds
/// the sandbox's network device and turns its packets into sockets.
///
/// It is replaced when it ends by itself, and ends with the sandbox's PID 1.
public final class WayOut: Sendable {
    /// What is written down of it, so that a new server finds it.
    public struct Record: Codable, Sendable {
        /// The pasta process.
        public var process: SandboxProcess.Identity?
        public var ports: [PublishedPort]
    }

    private struct State {
        var pasta: SandboxProcess?
        var isEnded = false
    }

    public let ports: [PublishedPort]
    private let first: SandboxProcess
    private let directory: String
    private let changed: @Sendable (WayOut) -> Void
    private let state: Monitor<State>

    private init(
        ports: [PublishedPort], of first: SandboxProcess, in directory: String, pasta: SandboxProcess?,
        changed: @escaping @Sendable (WayOut) -> Void
    ) {
        self.ports = ports
        self.first = first
        self.directory = directory
        self.changed = changed
        state = Monitor(State(pasta: pasta))
    }

    /// Leads out of the network namespace of `first`, a sandbox's PID 1, and in by the ports; returns once it does.
    ///
    /// `directory` is the sandbox's own. `changed` is called whenever another process does the work. Throws
    /// `RuntimeError.noPasta` or `.pasta`.
    public static func open(
        _ first: SandboxProcess, ports: [PublishedPort], in directory: String,
        changed: @escaping @Sendable (WayOut) -> Void
    ) throws(RuntimeError) -> WayOut {
        let pasta = try Pasta.start(for: first.pid, ports: ports, in: directory)
        let way = WayOut(ports: ports, of: first, in: directory, pasta: pasta, changed: changed)
        way.watch()
        return way
    }

    /// Takes up what an earlier server opened, or opens it anew where that has ended.
    public static func takeUp(
        _ record: Record, of first: SandboxProcess, in directory: String,
        changed: @escaping @Sendable (WayOut) -> Void
    ) -> WayOut {
        let pasta = record.process.flatMap { SandboxProcess($0) }
        let way = WayOut(ports: record.ports, of: first, in: directory, pasta: pasta, changed: changed)
        way.watch()
        return way
    }

    public var record: Record { Record(process: state.with { $0.pasta?.identity }, ports: ports) }

    /// Ends it; when it returns the host's ports are free.
    public func end() {
        let pasta = state.with(wake: true) { state -> SandboxProcess? in
            state.isEnded = true
            return state.pasta
        }
        pasta?.kill()
        _ = pasta?.ended(within: 5000)
    }

    /// Ends the pasta of a record that no sandbox claims.
    public static func end(_ record: Record) {
        guard let process = record.process.flatMap({ SandboxProcess($0) }) else { return }
        process.kill()
        _ = process.ended(within: 5000)
    }

    private func watch() {
        startThread { [self] in
            var pause: UInt64 = 10_000_000
            while true {
                let pasta = state.with { $0.isEnded ? nil : $0.pasta }
                if let pasta {
                    first.waitForEnd(or: pasta)
                    pause = 10_000_000
                }
                if first.hasEnded || state.with({ $0.isEnded }) { break }
                _ = pasta?.ended(within: 0)
                // A moment longer each time it cannot be started: the port may be another's for a while.
                let until = monotonicNanoseconds() + pause
                pause = min(pause * 2, 5_000_000_000)
                if state.wait(until: until, { $0.isEnded ? () : nil }) != nil { break }
                guard let next = try? Pasta.start(for: first.pid, ports: ports, in: directory) else {
                    state.with { $0.pasta = nil }
                    continue
                }
                let isWanted = state.with { state in
                    if !state.isEnded { state.pasta = next }
                    return !state.isEnded
                }
                if !isWanted {
                    next.kill()
                    _ = next.ended(within: 5000)
                    break
                }
                changed(self)
            }
            end()
        }
    }
}
