import CLinux
import Glibc
import LinuxSystem
import Messages
import SandboxRuntime

/// The memory of a running sandbox that is not whole yet, and who brings the rest.
///
/// A file in the sandbox's directory stands for it, so that a new server knows: it names the pager, who
/// writes into it how far he is, and removes it when all is there, or when PID 1 has ended.
final class MemoryFilling: Sendable {
    /// What the names of such files begin with; the number of the incarnation follows.
    static let prefix = "memory-"

    static func name(_ incarnation: Int) -> String { "\(prefix)\(incarnation)" }

    let path: String
    let pager: SandboxProcess
    private let lost = Monitor<String?>(nil)

    /// Writes the file.
    init(_ directory: String, _ incarnation: Int, pager: SandboxProcess) throws(SystemError) {
        path = "\(directory)/\(Self.name(incarnation))"
        self.pager = pager
        let line = Array("\(pager.identity.pid) \(pager.identity.startTime) ".utf8)
        let blank = [UInt8](repeating: 32, count: clinux_pager_progress_offset - 1 - line.count)
        try Files.replace(path, line + blank + [10], durable: false)
    }

    /// What is found of it in a sandbox's directory.
    enum Found {
        case nothing
        case underWay(MemoryFilling)
        /// The pager is gone, and not all is there.
        case lost(String)
    }

    static func find(in directory: String, _ incarnation: Int) -> Found {
        let path = "\(directory)/\(name(incarnation))"
        guard let text = try? Files.read(path) else { return .nothing }
        let first = String(decoding: text.prefix { $0 != 10 && $0 != 0 }, as: UTF8.self)
        let words = first.split(separator: " ")
        if words.count == 2, let pid = Int32(words[0]), let start = UInt64(words[1]),
            let pager = SandboxProcess(SandboxProcess.Identity(pid: pid, startTime: start))
        {
            return .underWay(MemoryFilling(path, pager))
        }
        // It may have come to its end in between.
        if !Files.exists(path) { return .nothing }
        return .lost(line(of: path, at: clinux_pager_reason_offset) ?? lostWithServer)
    }

    private init(_ path: String, _ pager: SandboxProcess) { (self.path, self.pager) = (path, pager) }

    private static let lostWithServer = "the process that brought its memory back ended"

    /// Whether all is there, or was in vain. Reaps the pager.
    var isOver: Bool { pager.ended(within: 0) }

    /// Bytes that are still to come, and all that were.
    var progress: (left: Int64, total: Int64)? {
        guard let line = Self.line(of: path, at: clinux_pager_progress_offset) else { return nil }
        let numbers = line.split(separator: " ").compactMap { Int64($0) }
        return numbers.count == 2 ? (numbers[0], numbers[1]) : nil
    }

    /// Why the sandbox had to be ended; nil where it had not. Once told it stays, also without the file.
    var whyLost: String? {
        lost.with { lost in
            if lost != nil { return lost }
            if let why = Self.line(of: path, at: clinux_pager_reason_offset) {
                lost = Self.sentence(why)
            } else if isOver, Files.exists(path) {
                lost = Self.sentence(Self.lostWithServer)
            }
            return lost
        }
    }

    /// Has all of it come as fast as it can.
    func hurry() { pager.signal(SIGUSR1) }

    static func sentence(_ why: String) -> String { "its memory was not whole yet, and \(why)" }

    private static func line(of path: String, at offset: Int) -> String? {
        guard let bytes = try? Files.read(path), bytes.count > offset else { return nil }
        let line = bytes[offset...].prefix { $0 != 10 && $0 != 0 }
        return line.isEmpty ? nil : String(decoding: line, as: UTF8.self)
    }

    /// Waits for the pager of a sandbox whose PID 1 has ended: that is the end of it as well. Nothing is
    /// left.
    func end() {
        if !pager.ended(within: 5000) {
            pager.kill()
            _ = pager.ended(within: 5000)
        }
        unlink(path)
    }
}

extension CheckpointManager {
    /// Sees to the end of it, whatever that is.
    func watch(_ filling: MemoryFilling, of sandbox: LiveSandbox) {
        startThread {
            _ = filling.pager.ended(within: -1)
            self.settle(filling, of: sandbox)
        }
    }

    /// Takes note of a pager's end: all is there, or the sandbox cannot go on.
    private func settle(_ filling: MemoryFilling, of sandbox: LiveSandbox) {
        if filling.whyLost == nil {
            return sandbox.with { state in
                if state.running?.filling === filling { state.running?.filling = nil }
            }
        }
        defer { unlink(filling.path) }
        // What does not live any more cannot take zeros for its memory.
        let running = sandbox.with { state in
            state.running.flatMap { $0.filling === filling ? $0 : nil }
        }
        guard let running else { return }
        running.kill()
        _ = running.process.ended(within: 5000)
        sandbox.noticeDeath()
    }

    /// Waits until all memory of a sandbox is there.
    func awaitMemory(of sandbox: LiveSandbox, _ cancelled: Cancellation) throws(ErrorMessage) {
        guard let filling = sandbox.with({ $0.running?.filling }) else { return }
        sandbox.phase("memory", in: .bytes) {
            let progress = filling.progress ?? (0, 0)
            return (progress.total - progress.left, progress.total)
        }
        filling.hurry()
        while !filling.pager.ended(within: 20) { try cancelled.check() }
        settle(filling, of: sandbox)
    }

    /// Finds the pager of a sandbox that an earlier server restored; where it is gone before all was there
    /// the sandbox is ended. `process` is its PID 1, nil where that has ended.
    func takeUpFilling(
        of sandbox: LiveSandbox, _ record: SandboxRecord, _ process: SandboxProcess?
    ) throws(ErrorMessage) -> MemoryFilling? {
        var found = MemoryFilling.find(in: sandbox.directory, record.incarnation)
        if process == nil, case .underWay(let filling) = found {
            // It sees that end as well, or told the reason of it.
            _ = filling.pager.ended(within: 5000)
            found = MemoryFilling.find(in: sandbox.directory, record.incarnation)
        }
        switch found {
        case .nothing: return nil
        case .underWay(let filling): return filling
        case .lost(let why):
            process?.kill()
            _ = process?.ended(within: 5000)
            unlink("\(sandbox.directory)/\(MemoryFilling.name(record.incarnation))")
            throw ErrorMessage(.wrongState, MemoryFilling.sentence(why))
        }
    }
}
