import Glibc
import LinuxSystem
import Messages
import SandboxRuntime

/// Sees sandboxes end by themselves, and the kernel kill in them, without anybody asking.
struct LifeWatch {
    /// The writing end of a pipe that wakes the watching thread; nil while there is none.
    var alarm: Int32?
    var isStopped = false
    /// PID 1s whose end is being dealt with.
    var handled: Set<SandboxProcess.Identity> = []
}

extension CheckpointManager {
    /// How often groups are asked whether the kernel killed in them, in milliseconds; only where there are any.
    private static let lookEvery: Int32 = 500

    /// Starts to watch; one thread for all sandboxes.
    func watchLives() {
        var ends: [Int32] = [-1, -1]
        guard pipe2(&ends, O_CLOEXEC | O_NONBLOCK) == 0 else {
            return report("nobody watches sandboxes: \(SystemError.last("pipe2"))")
        }
        let (reading, writing) = (ends[0], ends[1])
        lives.with { $0.alarm = writing }
        startThread {
            while !self.lives.with({ $0.isStopped }) { self.look(reading) }
            _ = close(reading)
        }
    }

    /// Has the watching thread look at who runs now.
    func wakeLifeWatch() {
        guard let alarm = lives.with({ $0.alarm }) else { return }
        var byte: UInt8 = 0
        // A full pipe wakes it as well.
        _ = write(alarm, &byte, 1)
    }

    func stopWatchingLives() {
        wakeLifeWatch()
        let alarm = lives.with { lives in
            defer { (lives.alarm, lives.isStopped) = (nil, true) }
            return lives.alarm
        }
        if let alarm { _ = close(alarm) }
    }

    private func look(_ alarm: Int32) {
        let handled = lives.with { $0.handled }
        let running = all.compactMap { sandbox in
            sandbox.with { $0.running }.map { (sandbox: sandbox, process: $0.process, groups: $0.groups) }
        }.filter { !handled.contains($0.process.identity) }
        var entries = [pollfd(fd: alarm, events: Int16(POLLIN), revents: 0)]
        // The descriptors stay open as long as `running` holds their processes.
        entries += running.map { pollfd(fd: $0.process.descriptor, events: Int16(POLLIN), revents: 0) }
        let counts = running.contains { $0.groups.countsMemory }
        _ = poll(&entries, nfds_t(entries.count), counts ? Self.lookEvery : -1)
        if entries[0].revents != 0 {
            var bytes = [UInt8](repeating: 0, count: 256)
            _ = read(alarm, &bytes, bytes.count)
        }
        for (index, one) in running.enumerated() {
            if entries[index + 1].revents != 0 {
                // One that was ended on purpose is its sandbox's no more.
                guard one.sandbox.with({ $0.running?.process.identity }) == one.process.identity else {
                    continue
                }
                handleEnd(of: one.process, one.sandbox)
            } else if one.groups.countsMemory {
                one.sandbox.noticeKills()
            }
        }
    }

    /// Whoever ended it on purpose holds the sandbox, and says so when it has it no more.
    private func handleEnd(of process: SandboxProcess, _ sandbox: LiveSandbox) {
        lives.with { _ = $0.handled.insert(process.identity) }
        startThread {
            try? sandbox.exclusively { () throws(ErrorMessage) in sandbox.noticeDeath() }
            self.lives.with { _ = $0.handled.remove(process.identity) }
            self.wakeLifeWatch()
        }
    }
}
