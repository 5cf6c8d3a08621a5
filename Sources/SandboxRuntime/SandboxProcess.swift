import CLinux
import Glibc
public import LinuxSystem

/// PID 1 of a sandbox, as the host sees it: told from any later process of the same pid by its start time.
public final class SandboxProcess: Sendable {
    /// Which process it is, across restarts of the server.
    public struct Identity: Codable, Hashable, Sendable {
        /// The host's pid.
        public let pid: Int32
        /// Field 22 of /proc/PID/stat, clock ticks since boot (proc(5)).
        public let startTime: UInt64
        public init(pid: Int32, startTime: UInt64) { (self.pid, self.startTime) = (pid, startTime) }
    }

    public let identity: Identity
    public var pid: Int32 { identity.pid }
    private let handle: Descriptor
    /// How it ended, once it was reaped here.
    private let end = Monitor<Ending?>(nil)

    /// How a process ended (waitid(2)).
    public struct Ending: Sendable {
        /// What it exited with, or 128 + the signal that ended it.
        public let exitCode: Int32
        public let signal: Int32?
    }

    /// How it ended; nil while it lives, and for one that is no child of this process.
    public var ending: Ending? { end.with { $0 } }

    /// Its pidfd, which is readable once it has ended; borrowed.
    public var descriptor: Int32 { handle.raw }

    /// Takes over a process that was just started or restored.
    public init(pid: Int32) throws(SystemError) {
        let number = try retrying("pidfd_open") { clinux_pidfd_open(pid) }
        handle = Descriptor(owning: number)
        identity = Identity(pid: pid, startTime: try Self.startTime(of: pid))
    }

    /// Finds a process again, nil when it is gone or another one has its pid.
    public init?(_ identity: Identity) {
        let number = clinux_pidfd_open(identity.pid)
        guard number >= 0 else { return nil }
        handle = Descriptor(owning: number)
        self.identity = identity
        guard (try? Self.startTime(of: identity.pid)) == identity.startTime, isAlive else { return nil }
    }

    /// Whether it has not ended.
    public var isAlive: Bool { !ended(within: 0) }

    /// Waits until it has ended, `milliseconds` at most (-1 for ever), and reaps it where it is our child.
    public func ended(within milliseconds: Int32) -> Bool {
        var poller = pollfd(fd: handle.raw, events: Int16(POLLIN), revents: 0)
        while true {
            let ready = poll(&poller, 1, milliseconds)
            if ready < 0 && errno == EINTR { continue }
            if ready <= 0 { return false }
            var status = siginfo_t()
            if waitid(P_PIDFD, id_t(handle.raw), &status, WEXITED | WNOHANG) == 0 { note(status) }
            return true
        }
    }

    private func note(_ status: siginfo_t) {
        // All zero where somebody else has reaped it.
        guard status._sifields._sigchld.si_pid != 0 else { return }
        let code = status._sifields._sigchld.si_status
        let ending =
            status.si_code == CLD_EXITED
            ? Ending(exitCode: code, signal: nil) : Ending(exitCode: 128 + code, signal: code)
        end.with { $0 = ending }
    }

    /// Whether it has ended; a child of ours is not reaped.
    var hasEnded: Bool {
        var poller = pollfd(fd: handle.raw, events: Int16(POLLIN), revents: 0)
        return poll(&poller, 1, 0) > 0
    }

    /// Waits until it or the other has ended; reaps neither.
    func waitForEnd(or other: SandboxProcess) {
        var pollers = [handle.raw, other.handle.raw].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        while poll(&pollers, 2, -1) < 0 && errno == EINTR {}
    }

    /// Ends it and, as it is PID 1, every process of its namespace (pid_namespaces(7)). Returns at once.
    public func kill() {
        _ = clinux_pidfd_send_signal(handle.raw, SIGKILL)
    }

    /// Lets it go on after a stop.
    public func resume() { signal(SIGCONT) }

    /// Sends it a signal.
    public func signal(_ number: Int32) {
        _ = clinux_pidfd_send_signal(handle.raw, number)
    }

    /// Its network namespace.
    public func networkNamespace() throws(SystemError) -> Descriptor {
        try Descriptor.open("/proc/\(pid)/ns/net", O_RDONLY)
    }

    /// Its mount namespace.
    ///
    /// Whoever holds it while the processes end takes their mounts down by closing it: the last of them would have to do
    /// that before it is seen to have ended, and the kernel waits for all processors at each (namespace_unlock in
    /// fs/namespace.c).
    public func mountNamespace() throws(SystemError) -> Descriptor {
        try Descriptor.open("/proc/\(pid)/ns/mnt", O_RDONLY)
    }

    /// How many processes live in its pid namespace; itself included.
    public func processCount() -> Int { hostPids().count }

    /// Resident memory that no file on disk holds, of all processes in its pid namespace together, in bytes; what
    /// they share counts once for each (proc_pid_status(5), RssAnon and RssShmem).
    public func memoryOfItsOwn() -> Int64 {
        hostPids().reduce(0) { sum, pid in
            let status = (try? Files.read("/proc/\(pid)/status")).map { String(decoding: $0, as: UTF8.self) }
            return (status ?? "").split(separator: "\n").reduce(sum) { sum, line in
                guard line.hasPrefix("RssAnon:") || line.hasPrefix("RssShmem:") else { return sum }
                let words = line.split(whereSeparator: \.isWhitespace)
                return sum + (words.count > 1 ? Int64(words[1]) ?? 0 : 0) * 1024
            }
        }
    }

    /// Has it get the processors last, or as everybody else again.
    public func standBack(_ isBehind: Bool = true) {
        if !hasEnded { clinux_stand(pid, isBehind ? Self.last : 0) }
    }

    /// Has all that lives in its pid namespace get the processors last. To be said before `kill` of much memory, which it takes
    /// the kernel a tenth of a second a GiB to give back, in the time of who dies.
    public func allStandBack() {
        for pid in hostPids() { clinux_stand(pid, Self.last) }
    }

    /// The nice value of who gets them last.
    private static let last: Int32 = 19

    /// The host's pids of the processes in its pid namespace; itself first.
    func hostPids() -> [Int32] {
        // A pid namespace of ours holds no other; so its processes are PID 1's descendants.
        var found: [Int32] = []
        var pending = [pid]
        while let next = pending.popLast() {
            found.append(next)
            for task in (try? Files.names(in: "/proc/\(next)/task")) ?? [] {
                guard let bytes = try? Files.read("/proc/\(next)/task/\(task)/children") else { continue }
                pending += String(decoding: bytes, as: UTF8.self).split(separator: " ").compactMap {
                    Int32($0)
                }
            }
        }
        return found
    }

    private static func startTime(of pid: Int32) throws(SystemError) -> UInt64 {
        let text = String(decoding: try Files.read("/proc/\(pid)/stat"), as: UTF8.self)
        // The command may hold spaces and parentheses; the fields begin after the last one.
        guard let close = text.lastIndex(of: ")") else { throw SystemError(call: "stat", code: ESRCH) }
        let fields = text[text.index(after: close)...].split(separator: " ")
        guard fields.count > 19, let ticks = UInt64(fields[19]) else {
            throw SystemError(call: "stat", code: ESRCH)
        }
        return ticks
    }
}
